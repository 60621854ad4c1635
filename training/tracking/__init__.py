"""MLflow: the only package of the project that imports it.

store           the folder with MLflow's database and artefacts
runs            what a run keeps
new_version     a version of the registered model, and its files
decision_model  what MLflow loads: the file in each version that decides
code_archive    the code that a version carries
registry        versions, aliases and bundles
config          ``--set name=value``, and configs as text
progress        types of progress callbacks
"""

from __future__ import annotations

import os

# MLflow reads these when it is imported, so they are set before.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
