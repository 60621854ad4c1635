"""Find a model by alias, version, run or bundle folder, with the config of its fit."""

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

_VERSION = re.compile(r"v?(\d{1,9})")  # a run id may consist of digits alone
_RUN = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """A version of a registered model in a tracking store."""

    store: Store
    name: str
    version: str


def find_registered(store: Store, name: str, version: str | None) -> RegisteredVersion:
    """Return a version by its number or alias; None = the champion.

    Raises TrackingError where there is none.
    """
    return RegisteredVersion(store, name, registry.resolve_version(store, name, version))


@dataclass(frozen=True, slots=True)
class Model:
    """A bundle with the config that its data were split by.

    ``selector`` is the text that selected it; ``version`` is null where that was a run or a folder.
    ``last_month`` is the last month of statements it was fitted on ("2026-09"), "" where its run
    does not have it.
    """

    selector: str
    bundle: Bundle
    config: DataConfig
    version: str | None
    run: str
    last_month: str


def find_model(selector: str, store: Store, name: str) -> Model:
    """Find and verify a model's bundle.

    ``selector`` is, in this order, an alias of ``name`` (champion, challenger, previous), a version
    (``3`` or ``v3``), a run id (32 hexadecimal digits), or the folder of a bundle whose run is in
    the store.  Raises :class:`training.tracking.store.TrackingError` naming what the store has and
    the nearest match, or where the bundle's split is unknown; BundleError for a bundle that must
    not be served.
    """
    # An alias or a version before a folder: a folder of the same name in the working directory must
    # not replace the registered champion.
    version = version_of(selector, store, name)
    with temporary_folder() as folder:
        if version is not None:
            place = registry.fetch_bundle(store, name, version, Path(folder))
        elif _RUN.fullmatch(selector):
            place = runs.fetch_run_bundle(store, selector, Path(folder))
        elif Path(selector).is_dir():
            place = Path(selector)
        else:
            raise TrackingError(_describe_missing(selector, store, name))
        bundle = load_bundle(place)
    return _with_config(selector, bundle, version, store)


def version_of(selector: str, store: Store, name: str) -> str | None:
    """Return the version that an alias or a number names; None where it is neither.

    Raises TrackingError for a version number that the registry does not have.
    """
    aliased = registry.aliases(store, name).get(selector)
    match = _VERSION.fullmatch(selector)
    if aliased is not None or match is None:
        return aliased
    number = match[1]
    # Only to raise TrackingError here, with the versions that there are, and not at the download.
    registry.find_run(store, name, number)
    return number


def _with_config(
    selector: str,
    bundle: Bundle,
    version: str | None,
    store: Store,
) -> Model:
    run = bundle.provenance.run
    if not run:
        raise TrackingError(
            f"{selector}: the bundle names no run, "
            f"so it is not known which accounts it was fitted on; compare runs"
        )
    try:
        info = fetch_run_info(store, run)
    except TrackingError as error:
        raise TrackingError(
            f"{selector}: {error}, so it is not known which accounts its bundle was fitted on"
        ) from error
    logged = info.stage("data")
    settings = [f"{key}={value}" for key, value in logged.items()]
    (config,) = override([DataConfig()], settings)
    return Model(
        selector=selector,
        bundle=bundle,
        config=config,
        version=version,
        run=run,
        last_month=info.tags.get("data.last_month", ""),
    )


def _describe_missing(selector: str, store: Store, name: str) -> str:
    aliases = registry.aliases(store, name)
    numbers = registry.versions_with_bundle(store, name)
    versions = [f"v{number}" for number in numbers]
    with_version = [f"{alias} (version {version})" for alias, version in aliases.items()]
    known = ", ".join([*with_version, *versions])
    # Run ids are left out: no one mistypes 32 digits.
    nearest = difflib.get_close_matches(selector, [*aliases, *versions], 1)
    suggestion = f"; did you mean {nearest[0]}?" if nearest else ""
    return (
        f"{selector!r} is no alias or version of {name}, no run and no folder; there are "
        f"{known or 'none'} in {store.folder}{suggestion}"
    )
