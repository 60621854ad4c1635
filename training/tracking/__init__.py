"""MLflow: the only package of the project that imports it.

store           the folder with MLflow's database and artefacts
runs            what a run keeps
new_version     a version of the registered model, and its files
decision_model  what MLflow loads: the file in each version that decides
code_archive    the code that a version carries
registry        versions, aliases and bundles
config          ``--set name=value``, and configs as text
outputs         files that commands write, checked before the work
progress        types of progress callbacks
lightgbm_import LightGBM with threads that sleep while they wait
"""

from __future__ import annotations

import os

# The one global setting that an import changes: a lender's notebook sends nothing to anybody.
# MLflow reads it when it is imported, so it is set before.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
