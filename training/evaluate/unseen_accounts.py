"""Accounts that no compared model was fitted on: the only ones on which models may be compared.

An account's split is a hash of its id.  A model's config therefore decides for any account, in any
month and any data, whether the model could have seen it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from features.types import Mask
from training.data.config import OWN_LABEL, DataConfig, DataError
from training.data.dataset import Source, load
from training.data.labels import choose_as_ofs
from training.data.outcome_counts import describe_censored, share_censored
from training.data.splits import assign_splits
from training.evaluate.holdout import Evaluation, HoldOut, evaluate, select_hold_out
from training.evaluate.model_lookup import Model, find_model
from training.tracking.store import Store

LABEL_FIELDS = ("horizon_months", "default_days")  # of DataConfig: they define the outcome


@dataclass(frozen=True, slots=True)
class UnseenAccounts:
    """The hold-out shared by all models, with notes on how it was selected.

    ``earlier`` are the accounts of the same split in the last month that trees were fitted on; no
    tree saw them either.
    """

    hold_out: HoldOut
    earlier: HoldOut
    notes: tuple[str, ...]


def select_unseen(
    source: Source,
    folder: Path,
    models: Sequence[Model],
    shared: bool = False,
) -> UnseenAccounts:
    """Select the test accounts of the first model's split.

    All of them must be test accounts by the other models' splits too.  With ``shared`` those that
    are not are left out, and the notes say so.  Raises :class:`training.data.config.DataError`
    where the models cannot be compared fairly, naming how many accounts a model may have seen;
    where a model was fitted on all rows; and where the models predict different outcomes.
    """
    _check_comparable(source, models)
    config = models[0].config
    on = select_hold_out(source, config, folder)
    unseen_by_all, doubts, remarks = _find_unseen(on, source, models)
    if doubts and not shared:
        raise DataError(
            f"the models cannot be compared fairly on {folder}: {'; '.join(doubts)}; "
            f"{int(unseen_by_all.sum()):,} accounts were unseen by all: --shared compares on these"
        )
    if not unseen_by_all.all():
        on = on.take(np.flatnonzero(unseen_by_all))
    _check_both_labels(on, folder)
    notes = list(remarks)
    notes += note_censored(on)
    if doubts:
        notes.insert(
            0,
            f"on the {len(on.label):,} accounts that no model has seen: {'; '.join(doubts)}",
        )
    earlier = _earlier_month(source, folder, config, models)
    return UnseenAccounts(on, earlier, tuple(notes))


def _check_comparable(source: Source, models: Sequence[Model]) -> None:
    if source.labels is not None:
        raise DataError(
            "the data bring labels of their own, and models of them are fitted on all rows: "
            "none is held out"
        )
    for model in models:
        _check_same_outcome(model, models[0])
        # Its trees saw other accounts of the months in which these accounts' outcomes lie: a
        # recession there is no longer unseen.
        if model.last_month > source.last_month:
            raise DataError(
                f"{model.selector} was fitted on statements up to {model.last_month}, "
                f"the data end in {source.last_month}: "
                f"it has seen the later months of other accounts"
            )


def _check_same_outcome(model: Model, first: Model) -> None:
    label = model.bundle.provenance.label
    if label != OWN_LABEL:
        raise DataError(
            f"{model.selector} was fitted on all rows of data with labels of their own ({label}): "
            f"no account is held out, and it predicts another outcome than {OWN_LABEL}"
        )
    for field in LABEL_FIELDS:
        expected = getattr(first.config, field)
        actual = getattr(model.config, field)
        if expected != actual:
            raise DataError(
                f"{model.selector} predicts another outcome than {first.selector}: "
                f"{field} is {actual} there and {expected} here"
            )


def _find_unseen(
    on: HoldOut,
    source: Source,
    models: Sequence[Model],
) -> tuple[Mask, list[str], list[str]]:
    """Which accounts no model has seen; doubts where a model has seen some; remarks otherwise."""
    accounts = len(on.label)
    unseen_by_all = np.ones(accounts, dtype=np.bool_)
    doubts: list[str] = []
    remarks: list[str] = []
    for model in models:
        # By the hash, even where the model was fitted on other data: accounts with equal ids are
        # taken to be the same customers.
        held_out = assign_splits(on.people["account_id"], model.config) == "test"
        unseen_by_all &= held_out
        overlap = int((~held_out).sum())
        other_data = model.bundle.provenance.training_data != source.digest
        if overlap:
            how = "on other data" if other_data else "with another split"
            doubts.append(
                f"{model.selector} was fitted {how}, and {overlap:,} of the hold-out's "
                f"{accounts:,} accounts are among those that its trees or its calibration "
                f"may have seen"
            )
        elif other_data:
            remarks.append(
                f"{model.selector} was fitted on other data; "
                f"by its split it has seen none of the hold-out's accounts"
            )
    return unseen_by_all, doubts, remarks


def _earlier_month(
    source: Source,
    folder: Path,
    config: DataConfig,
    models: Sequence[Model],
) -> HoldOut:
    # The last as_of is the hold-out's; the one before is the last that trees were fitted on.
    as_ofs = choose_as_ofs(source.statements["month"], config)
    month, _ = as_ofs[-2]
    on = select_hold_out(source, config, folder, month)
    accounts = on.people["account_id"]
    held_out = [assign_splits(accounts, model.config) == "test" for model in models]
    unseen_by_all = np.all(held_out, axis=0)
    if unseen_by_all.all():
        return on
    return on.take(np.flatnonzero(unseen_by_all))


def _check_both_labels(on: HoldOut, folder: Path) -> None:
    defaults = int(on.label.sum())
    if min(defaults, len(on.label) - defaults) < 2:
        raise DataError(
            f"{folder}: expected at least two accounts of each label that all models left unseen, "
            f"got {defaults} defaults among {len(on.label)}"
        )


def evaluate_version(
    data_folder: Path,
    store: Store,
    name: str,
    version: str,
) -> tuple[Evaluation, Source, DataConfig]:
    """Evaluate a registered version on the hold-out of these data, split as its fit split them.

    Data that bring labels have no hold-out; all labelled accounts are used instead, and
    :func:`caveats` says so.  Raises :class:`training.tracking.store.TrackingError` for a version
    without a bundle, DataError for data that cannot be used.
    """
    model = find_model(version, store, name)
    source = load(data_folder)
    on = select_hold_out(source, model.config, data_folder)
    evaluation = evaluate(f"version {version} of {name}", model.bundle, on)
    return evaluation, source, model.config


def note_censored(on: HoldOut) -> tuple[str, ...]:
    """Return a note on the accounts of a hold-out whose outcome was not observed; empty if none."""
    share = share_censored(on.outcomes)
    if share == 0.0:
        return ()
    censored = describe_censored(on.outcomes)
    return (f"the outcome of {share:.1%} of the accounts was not observed: {censored}",)


def caveats(source: Source) -> tuple[str, ...]:
    """Return warnings about accounts that replace a hold-out; empty where there is a hold-out."""
    if source.labels is None:
        return ()
    return (
        "the data bring labels of their own and are fitted whole: "
        "the model saw these accounts, and looks better on them",
    )
