"""Which model is meant: by alias, version, run or bundle folder; with how it was fitted."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from serving.decision.bundle import Bundle
from serving.decision.golden import load as load_bundle
from training.data.config import DataConfig
from training.tracking import registry, runs
from training.tracking.config import override
from training.tracking.store import Store, TrackingError, fetch_run_info, temporary_folder

_VERSION = re.compile(r"v?(\d{1,9})")  # a run id may be of digits alone
_RUN = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Model:
    """A bundle with the config that its data were split by.

    ``asked`` is how it was asked for; ``version`` is null where it was asked for by run or folder;
    ``last_month`` is that of the statements it was fitted on ("2026-09"), "" where its run does not
    tell.
    """

    asked: str
    bundle: Bundle
    config: DataConfig
    version: str | None
    run: str
    last_month: str


def find_model(asked: str, store: Store, name: str) -> Model:
    """The model that is asked for, its bundle verified.

    In this order: an alias of ``name`` (champion, challenger, previous), a version (``3`` or
    ``v3``), a run id (32 hexadecimal digits), the folder of a bundle whose run is in the store.
    Raises :class:`training.tracking.store.TrackingError` saying what there is and what is nearest,
    or that the bundle's split is not known; BundleError for a bundle that must not be served.
    """
    version = version_of(asked, store, name)
    with temporary_folder() as folder:
        if version is not None:
            place = registry.fetch_bundle(store, name, version, Path(folder))
        elif _RUN.fullmatch(asked):
            place = runs.fetch_run_bundle(store, asked, Path(folder))
        elif Path(asked).is_dir():
            place = Path(asked)
        else:
            raise TrackingError(_nothing_called(asked, store, name))
        bundle = load_bundle(place)
    return _with_config(asked, bundle, version, store)


def version_of(asked: str, store: Store, name: str) -> str | None:
    """The version that an alias or a number names; None where it is neither.

    TrackingError for a number that is not there.
    """
    named = registry.aliases(store, name).get(asked)
    number = _VERSION.fullmatch(asked)
    if named is not None or number is None:
        return named
    registry.find_run(store, name, number[1])
    return number[1]


def _with_config(asked: str, bundle: Bundle, version: str | None, store: Store) -> Model:
    run = bundle.provenance.run
    if not run:
        raise TrackingError(
            f"{asked}: a bundle of no run, so it is not known which accounts it was fitted on; compare runs"
        )
    try:
        told = fetch_run_info(store, run)
    except TrackingError as error:
        raise TrackingError(
            f"{asked}: {error}, so it is not known which accounts its bundle was fitted on"
        ) from error
    (config,) = override(
        [DataConfig()], [f"{key}={value}" for key, value in told.stage("data").items()]
    )
    return Model(asked, bundle, config, version, run, told.tags.get("data.last_month", ""))


def _nothing_called(asked: str, store: Store, name: str) -> str:
    aliases, versions = registry.aliases(store, name), registry.versions_with_bundle(store, name)
    there = [f"{alias} (version {version})" for alias, version in aliases.items()] + [
        f"v{version}" for version in versions
    ]
    nearest = difflib.get_close_matches(
        asked, [*aliases, *(f"v{version}" for version in versions)], 1
    )
    meant = f"; did you mean {nearest[0]}?" if nearest else ""
    return (
        f"{asked!r} is no alias or version of {name}, no run and no folder; there are "
        f"{', '.join(there) or 'none'} in {store.folder}{meant}"
    )
