"""How the session's small model is made: the configurations of its data, its fit and its bundle."""

from training.data.config import DataConfig
from training.fit.bundle import BundleConfig
from training.fit.config import FitConfig

CONFIGS = (DataConfig(), FitConfig(trees=40), BundleConfig(reference_size=200))
