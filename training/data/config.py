"""The settings of a labelled frame, and the error for data that cannot be used."""

from __future__ import annotations

from dataclasses import dataclass

from training.data.censoring import TREATED
from training.tracking.config import check_ranges

# See training/data/observation.py.
UNOBSERVED = ("leave_out", "weight")
OWN_LABEL = "60 days past due or worse within the 6 months after as_of"


class DataError(ValueError):
    """A data folder cannot be used.

    The message names the file, the expected content and the actual one.
    """


@dataclass(frozen=True, slots=True)
class DataConfig:
    """How accounts and months become labelled rows.  ValueError for a field out of its range."""

    horizon_months: int = 6  # months after as_of that the label covers
    default_days: int = 60  # days past due from which an account has defaulted
    earliest_history: int = 12  # months of data before the first training as_of
    as_of_every: int = 2  # months between training as_ofs
    valid_share: float = 0.2  # of the accounts, for early stopping and calibration
    test_share: float = 0.3  # of the accounts, for the final measures only
    split_seed: int = 0  # another seed puts other accounts on each side
    # treatment of accounts that are cut within the horizon: see training/data/censoring.py
    treated: str = "keep"
    # rows whose outcome was not observed: left out, or represented by others with weights in the
    # fit; see training/data/observation.py
    unobserved: str = "leave_out"

    def __post_init__(self) -> None:
        check_ranges(
            self,
            horizon_months=(1, 24),
            default_days=(1, 3650),
            earliest_history=(1, 600),
            as_of_every=(1, 600),
            valid_share=(0.01, 0.9),
            test_share=(0.01, 0.9),
            split_seed=(0, 2**63 - 1),
        )
        if self.valid_share + self.test_share > 0.95:
            raise ValueError(
                f"DataConfig: expected valid_share + test_share of at most 0.95, got {self}"
            )
        if self.treated not in TREATED:
            raise ValueError(f"DataConfig.treated: expected one of {TREATED}, got {self.treated!r}")
        if self.unobserved not in UNOBSERVED:
            raise ValueError(
                f"DataConfig.unobserved: expected one of {UNOBSERVED}, got {self.unobserved!r}"
            )
