"""The settings of a fit, and the error for a fit that cannot be done."""

from __future__ import annotations

from dataclasses import dataclass

from features.catalogue import MODEL_FEATURES
from training.tracking.config import check_ranges, suggest

# From the crudest bounds on a split to the tightest; LightGBM's names.
MONOTONE_METHODS = ("basic", "intermediate", "advanced")


class FitError(ValueError):
    """Data that no model can be fitted on: what was expected and what came."""


@dataclass(frozen=True, slots=True)
class FitConfig:
    """The model's size and how it learns."""

    trees: int = 200  # at most; early stopping may keep fewer
    leaves: int = 16  # a tree's leaves at most
    depth: int = 4  # a tree's depth at most: explaining costs 2 ** depth a leaf
    learning_rate: float = 0.05  # weight of each tree
    min_leaf: int = 60  # accounts a leaf holds at least
    l2: float = 10.0  # shrinks leaf values
    feature_share: float = 0.6  # of the features, drawn for each tree
    row_share: float = 0.8  # of the rows, drawn for each tree
    stop_after: int = 30  # trees without better validation loss before stopping; 0 = never stop
    # where the data bring their own labels: stratified folds, out of which calibration is made
    folds: int = 5
    monotone: bool = True  # constrain every feature to its declared direction
    # how the constraints are kept: basic, intermediate or advanced; each keeps all of them
    monotone_method: str = "basic"
    without: str = ""  # model features that no tree splits on, with ; between: what are they worth?
    seed: int = 0  # of everything random in fitting and folding
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
                f"FitConfig.monotone_method: expected one of {MONOTONE_METHODS}, got {self.monotone_method!r}"
            )
        for name in self.left_out - set(MODEL_FEATURES):
            near = suggest(name, MODEL_FEATURES)
            raise ValueError(
                f"FitConfig.without: expected features of the model, got {name!r}{near}"
            )
        if len(self.left_out) == len(MODEL_FEATURES):
            raise ValueError(
                "FitConfig.without: expected some feature to be left to the trees, all are named"
            )

    @property
    def left_out(self) -> frozenset[str]:
        """The features of ``without``."""
        return frozenset(name.strip() for name in self.without.split(";") if name.strip())
