"""A registered version with the accounts that its own fit held out: what the policy lab and the monitor begin with."""

from __future__ import annotations

from pathlib import Path

from training import track
from training.data import DataConfig, Source, load
from training.evaluated import Evaluated, evaluate, hold_out
from training.models import find


def held_out(data_folder: Path, store: track.Store, name: str, version: str) -> tuple[Evaluated, Source, DataConfig]:
    """The version put to the hold-out of these data, split as its fit split them, so that no tree saw any of the accounts.

    Data that bring labels have no hold-out, and all labelled accounts stand in: :func:`caveats` says so.  Raises
    :class:`training.track.TrackingError` for a version without a bundle, DataError for data that cannot be used.
    """
    model = find(version, store, name)
    source = load(data_folder)
    on = hold_out(source, model.config, data_folder)
    return evaluate(f"version {version} of {name}", model.bundle, on), source, model.config


def caveats(source: Source) -> tuple[str, ...]:
    """What must be known of the accounts that stand for a hold-out; nothing where they are one."""
    if source.labels is None:
        return ()
    return ("the data bring labels of their own and are fitted whole: the model saw these accounts, and looks better on them",)
