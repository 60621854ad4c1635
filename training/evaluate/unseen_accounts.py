"""Accounts that none of some models was fitted on: the only ones on which they may be compared.

An account's split is a hash of its name, so that every config tells for any account whether a model
fitted with it could have seen that account, in whatever month and data it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.config import OWN_LABEL, DataConfig, DataError
from training.data.dataset import Source, load
from training.data.labels import choose_as_ofs
from training.data.splits import assign_splits
from training.evaluate.holdout import Evaluation, HoldOut, evaluate, hold_out
from training.evaluate.model_lookup import Model, find_model
from training.tracking.store import Store

LABEL_FIELDS = ("horizon_months", "default_days")  # of DataConfig: they say what is predicted


@dataclass(frozen=True, slots=True)
class Unseen:
    """The hold-out that the models share, and what must be known about it.

    ``earlier`` are the accounts of the same split in the last month that trees were fitted on: seen
    by no tree either.
    """

    hold_out: HoldOut
    earlier: HoldOut
    notes: tuple[str, ...]


def unseen(source: Source, folder: Path, models: Sequence[Model], shared: bool = False) -> Unseen:
    """The test accounts of the first model's split, all of which must be so by the other models'
    splits and data too.

    ``shared``: those that are, where others are not, said in the notes.  Raises
    :class:`training.data.config.DataError` where models cannot be compared fairly, with how many
    accounts of the hold-out a model has or may have seen; where one was fitted on all rows, or
    predicts another outcome.
    """
    _check_comparable(source, models)
    config = models[0].config
    on = hold_out(source, config, folder)
    fair, doubts, remarks = _fair(on, source, models)
    if doubts and not shared:
        raise DataError(
            f"the models cannot be compared fairly on {folder}: {'; '.join(doubts)}; "
            f"{int(fair.sum()):,} accounts were unseen by all: --shared compares on these"
        )
    kept = on if fair.all() else on.take(np.flatnonzero(fair))
    _both_labels(kept, folder)
    notes = (
        [f"on the {len(kept.label):,} accounts that no model has seen: {'; '.join(doubts)}"]
        if doubts
        else []
    )
    return Unseen(kept, _earlier(source, folder, config, models), (*notes, *remarks))


def _check_comparable(source: Source, models: Sequence[Model]) -> None:
    if source.labels is not None:
        raise DataError(
            "the data bring labels of their own, and models of them are fitted on all rows: none is held out"
        )
    for model in models:
        if model.bundle.provenance.label != OWN_LABEL:
            raise DataError(
                f"{model.asked} was fitted on all rows of data with labels of their own ({model.bundle.provenance.label}): "
                f"no account is held out, and it predicts another outcome than {OWN_LABEL}"
            )
        for field in LABEL_FIELDS:
            first, other = getattr(models[0].config, field), getattr(model.config, field)
            if first != other:
                raise DataError(
                    f"{model.asked} predicts another outcome than {models[0].asked}: {field} is {other} there and {first} here"
                )
        if model.last_month > source.last_month:
            raise DataError(
                f"{model.asked} was fitted on statements up to {model.last_month}, the data end in {source.last_month}: "
                f"it knows of other accounts what came after"
            )


def _fair(
    on: HoldOut, source: Source, models: Sequence[Model]
) -> tuple[NDArray[np.bool_], list[str], list[str]]:
    """Which accounts no model has seen; in words where a model has seen some, and where one was
    fitted on other data.
    """
    fair, doubts, remarks = np.ones(len(on.label), dtype=np.bool_), list[str](), list[str]()
    for model in models:
        held_out = assign_splits(on.people["account_id"], model.config) == "test"
        fair &= held_out
        overlap, other_data = (
            int((~held_out).sum()),
            model.bundle.provenance.training_data != source.digest,
        )
        if overlap:
            doubts.append(
                f"{model.asked} was fitted {'on other data' if other_data else 'with another split'}, and {overlap:,} of the "
                f"hold-out's {len(on.label):,} accounts are among those that its trees or its calibration may have seen"
            )
        elif other_data:
            remarks.append(
                f"{model.asked} was fitted on other data; by its split it has seen none of the hold-out's accounts"
            )
    return fair, doubts, remarks


def _earlier(source: Source, folder: Path, config: DataConfig, models: Sequence[Model]) -> HoldOut:
    month = choose_as_ofs(source.statements["month"], config)[-2][0]
    on = hold_out(source, config, folder, month)
    accounts = on.people["account_id"]
    fair = np.logical_and.reduce(
        [assign_splits(accounts, model.config) == "test" for model in models]
    )
    return on if fair.all() else on.take(np.flatnonzero(fair))


def _both_labels(on: HoldOut, folder: Path) -> None:
    defaults = int(on.label.sum())
    if min(defaults, len(on.label) - defaults) < 2:
        raise DataError(
            f"{folder}: expected at least two accounts of each label that all models left unseen, got {defaults} defaults "
            f"among {len(on.label)}"
        )


def held_out(
    data_folder: Path, store: Store, name: str, version: str
) -> tuple[Evaluation, Source, DataConfig]:
    """The version put to the hold-out of these data, split as its fit split them, so that no tree
    saw any of the accounts.

    Data that bring labels have no hold-out, and all labelled accounts stand in: :func:`caveats`
    says so.  Raises :class:`training.tracking.store.TrackingError` for a version without a bundle,
    DataError for data that cannot be used.
    """
    model = find_model(version, store, name)
    source = load(data_folder)
    on = hold_out(source, model.config, data_folder)
    return evaluate(f"version {version} of {name}", model.bundle, on), source, model.config


def caveats(source: Source) -> tuple[str, ...]:
    """What must be known of the accounts that stand for a hold-out; nothing where they are one."""
    if source.labels is None:
        return ()
    return (
        "the data bring labels of their own and are fitted whole: the model saw these accounts, and looks better on them",
    )
