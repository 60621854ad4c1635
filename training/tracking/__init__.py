"""MLflow, and nothing else of the project imports it.

store     the folder with MLflow's database and artefacts
runs      what a run keeps
registry  versions, aliases and bundles
config    ``--set name=value`` and configs as text
"""

from __future__ import annotations

import os

# MLflow reads these when it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
