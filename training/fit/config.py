"""The settings of a fit, and the error for data that no model can be fitted on."""

from __future__ import annotations

from dataclasses import dataclass

from features.catalogue import MODEL_FEATURES
from training.tracking.config import check_ranges, suggest

# LightGBM's names, from the crudest bounds on a split to the tightest.
MONOTONE_METHODS = ("basic", "intermediate", "advanced")


class FitError(ValueError):
    """The data cannot be fitted: the message says what was expected and what came."""


@dataclass(frozen=True, slots=True)
class FitConfig:
    """The size of the model, and how it is fitted.  ValueError for a field out of its range."""

    trees: int = 200  # maximum; early stopping may keep fewer
    leaves: int = 16  # maximum a tree
    depth: int = 4  # maximum of a tree: explaining costs 2 ** depth a leaf
    learning_rate: float = 0.05  # weight of each tree
    min_leaf: int = 60  # minimum of accounts in a leaf
    l2: float = 10.0  # shrinks leaf values
    feature_share: float = 0.6  # share of the features that is drawn for each tree
    row_share: float = 0.8  # share of the rows that is drawn for each tree
    stop_after: int = 30  # stop after so many trees without a better validation loss; 0 = never
    folds: int = 5  # stratified, for data with labels of their own; calibration uses them too
    monotone: bool = True  # constrain every feature to its declared direction
    monotone_method: str = "basic"  # one of MONOTONE_METHODS; each keeps all constraints
    excluded_features: tuple[str, ...] = ()  # model features that no tree may split on
    seed: int = 0  # of all random numbers in fitting and folding
    threads: int = 0  # 0 = all cores

    def __post_init__(self) -> None:
        check_ranges(
            self,
            trees=(1, 10_000),
            leaves=(2, 256),
            depth=(1, 8),
            learning_rate=(1e-4, 1.0),
            min_leaf=(1, 10_000_000),
            l2=(0.0, 1e6),
            feature_share=(0.01, 1.0),
            row_share=(0.01, 1.0),
            stop_after=(0, 10_000),
            folds=(2, 50),
            seed=(0, 2**31 - 1),
            threads=(0, 1024),
        )
        if self.monotone_method not in MONOTONE_METHODS:
            raise ValueError(
                f"FitConfig.monotone_method: expected one of {MONOTONE_METHODS}, "
                f"got {self.monotone_method!r}"
            )
        for name in self.excluded_features:
            if name not in MODEL_FEATURES:
                raise ValueError(
                    "FitConfig.excluded_features: expected features of the model, "
                    f"got {name!r}{suggest(name, MODEL_FEATURES)}"
                )
        if set(self.excluded_features) == set(MODEL_FEATURES):
            raise ValueError(
                "FitConfig.excluded_features: expected at least one feature for the trees "
                "to split on, all are excluded"
            )
