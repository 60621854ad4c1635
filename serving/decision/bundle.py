"""The bundle: a folder with all that a decision needs, identified by its sha256.

    bundle.sha256      sha256 of manifest.json: the bundle's digest
    manifest.json      what the model is and where it comes from, and the sha256 of every other file
    model.txt          LightGBM's text form
    reference.parquet  the reference populations: features of kept accounts just inside the cut-off, one product or more
    policy.toml        from probability to action
    reasons.toml       the wording
    advice.toml        what a customer can do about a cut, and how it is said
    golden.json        statements with the exact answers they must get (see golden.py)

Reading verifies every digest before anything is parsed: LightGBM's parser ends the process on a
damaged text.  No pickle.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PanicException, PolarsError

from features.catalogue import BY_NAME
from serving.decision.config.advice import AdviceRules, read_advice
from serving.decision.config.policy import Policy, read_policy
from serving.decision.config.reasons import Wording, read_wording
from serving.decision.scoring.lightgbm_trees import TreeError, read_trees
from serving.decision.scoring.score import AdditivityError, Calibration, Scorer, score
from serving.decision.scoring.shapley import make_explainer
from serving.decision.scoring.shapley_tables import flatten_trees

FORMAT = 6
SEAL = "bundle.sha256"
FILES = (
    "model.txt",
    "reference.parquet",
    "policy.toml",
    "reasons.toml",
    "advice.toml",
    "golden.json",
)
# What parsing, laying out and deciding raise on a file sealed with something else in it.  A Rust
# panic is no Exception.
_UNFIT = (
    ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RecursionError, TypeError, ValueError,
    lgb.basic.LightGBMError, PanicException, PolarsError,
)  # fmt: skip


class BundleError(ValueError):
    """A bundle that must not be served: which file, what was expected and what stands there."""


@contextmanager
def refusing(where: str) -> Iterator[None]:
    """Whatever the content of a bundle raises inside the block, as a :class:`BundleError`: one kind
    of refusal for callers.
    """
    try:
        yield
    except BundleError:
        raise
    except _UNFIT as error:
        raise BundleError(
            f"{where}: not as format {FORMAT} has it: {type(error).__name__}: {error}"
        ) from error


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a model comes from; ``run`` and ``version`` are MLflow's, "" where it was fitted
    without.
    """

    name: str
    version: str
    run: str
    label: str  # the label's definition, in words
    training_data: str  # sha256 of the statements it was fitted on
    libraries: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ReferenceNote:
    """How a product's reference population was chosen, by ``rule``; distances in calibrated
    log-odds.

    ``accounts`` of a ``pool`` that was to reach ``band`` below where a person decides and reaches
    ``reach``; ``widened`` where that is more, for want of accounts.  ``imbalance``: the largest
    mean contribution of a reason group of these accounts against the pool.
    """

    accounts: int
    pool: int
    band: float
    widened: bool
    reach: float
    imbalance: float
    lowest_log_odds: float
    highest_log_odds: float
    rule: str


@dataclass(frozen=True, slots=True)
class Parts:
    """What a bundle is written from.

    ``never_missing``: features that training never saw unknown; LightGBM scores an unknown value as
    0 there, so such an account is a person's.  ``reference`` has a ``product`` column and one
    float64 column a model feature.
    """

    provenance: Provenance
    features: tuple[str, ...]
    never_missing: tuple[str, ...]
    calibration: Calibration
    reference_notes: Mapping[str, ReferenceNote]
    model_text: str
    reference: pl.DataFrame
    policy_text: str
    reasons_text: str
    advice_text: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle in memory, read-only.

    ``medians``: product -> feature -> the reference's median (see :func:`medians_of`).
    """

    digest: str
    provenance: Provenance
    features: tuple[str, ...]
    never_missing: tuple[str, ...]
    scorer: Scorer
    reference: pl.DataFrame
    reference_digest: str
    medians: Mapping[str, Mapping[str, float]]
    policy: Policy
    wording: Wording
    advice: AdviceRules
    golden_text: str


def assemble(parts: Parts, digest: str = "", golden_text: str = "") -> Bundle:
    """The bundle that these parts make; :class:`BundleError` where they do not fit together."""
    model = lgb.Booster(model_str=parts.model_text)
    _check_structure(parts, model)
    policy, wording = read_policy(parts.policy_text), read_wording(parts.reasons_text)
    _check_rules(policy)
    return Bundle(
        digest=digest,
        provenance=parts.provenance,
        features=parts.features,
        never_missing=parts.never_missing,
        scorer=_scorer(parts, model),
        reference=parts.reference,
        reference_digest=_sha256(_parquet(parts.reference)),
        medians={
            str(product): medians_of(rows.select(parts.features))
            for (product,), rows in parts.reference.group_by("product", maintain_order=True)
        },
        policy=policy,
        wording=wording,
        advice=read_advice(parts.advice_text),
        golden_text=golden_text,
    )


def write(parts: Parts, golden_text: str, folder: Path) -> str:
    """Write the bundle into ``folder``, whole or not at all; returns its digest.

    FileExistsError where it is there.
    """
    if folder.exists():
        raise FileExistsError(f"bundle: {folder} exists already; a bundle is never written over")
    contents = {
        "model.txt": parts.model_text.encode(),
        "reference.parquet": _parquet(parts.reference),
        "policy.toml": parts.policy_text.encode(),
        "reasons.toml": parts.reasons_text.encode(),
        "advice.toml": parts.advice_text.encode(),
        "golden.json": golden_text.encode(),
    }
    manifest = _json(_manifest(parts, contents)).encode()
    digest = _sha256(manifest)
    contents |= {"manifest.json": manifest, SEAL: f"{digest}\n".encode()}
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for name, content in contents.items():
        (unfinished / name).write_bytes(content)
    unfinished.rename(folder)
    return digest


def read(folder: Path) -> Bundle:
    """The bundle in ``folder``, every byte verified before any is parsed.  Raises
    :class:`BundleError`.

    The golden rows are not run here: :func:`serving.decision.golden.load` does, and is what
    services use.
    """
    # A bundle may be sealed by someone who writes other things under this format's number.
    with refusing(str(folder)):
        contents, digest = _verified(folder)
        manifest = json.loads(contents["manifest.json"])
        if manifest.get("format") != FORMAT:
            raise BundleError(
                f"{folder}: expected bundle format {FORMAT}, got {manifest.get('format')!r}"
            )
        return assemble(_parts(manifest, contents), digest, contents["golden.json"].decode())


def _parts(manifest: Mapping[str, Any], contents: Mapping[str, bytes]) -> Parts:
    return Parts(
        provenance=Provenance(**manifest["provenance"]),
        features=tuple(manifest["features"]),
        never_missing=tuple(manifest["never_missing"]),
        calibration=Calibration(**manifest["calibration"]),
        reference_notes={
            product: ReferenceNote(**note) for product, note in manifest["reference"].items()
        },
        model_text=contents["model.txt"].decode(),
        reference=pl.read_parquet(io.BytesIO(contents["reference.parquet"])),
        policy_text=contents["policy.toml"].decode(),
        reasons_text=contents["reasons.toml"].decode(),
        advice_text=contents["advice.toml"].decode(),
    )


def _verified(folder: Path) -> tuple[dict[str, bytes], str]:
    """Every file's bytes, all of which have the digest that the manifest states; and the manifest's
    own.
    """
    expected = {SEAL, "manifest.json", *FILES}
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if found != expected:
        raise BundleError(
            f"{folder}: missing {sorted(expected - found)}, unexpected {sorted(found - expected)}"
        )
    contents = {name: (folder / name).read_bytes() for name in expected}
    digest = _sha256(contents["manifest.json"])
    if contents[SEAL] != f"{digest}\n".encode():
        raise BundleError(
            f"{folder}/manifest.json: its sha256 is {digest}, not what {SEAL} states; the bundle is damaged"
        )
    stated = json.loads(contents["manifest.json"]).get("files", {})
    for name in FILES:
        if _sha256(contents[name]) != stated.get(name):
            raise BundleError(
                f"{folder}/{name}: its sha256 is not what the manifest states; the bundle is damaged"
            )
    return contents, digest


def _manifest(parts: Parts, contents: Mapping[str, bytes]) -> dict[str, object]:
    return {
        "format": FORMAT,
        "provenance": asdict(parts.provenance),
        "features": list(parts.features),
        "never_missing": list(parts.never_missing),
        "calibration": asdict(parts.calibration),
        "reference": {product: asdict(note) for product, note in parts.reference_notes.items()},
        "files": {name: _sha256(content) for name, content in contents.items()},
    }


def _check_structure(parts: Parts, model: lgb.Booster) -> None:
    if tuple(model.feature_name()) != parts.features:
        raise BundleError(
            f"model.txt: expected the features {parts.features}, got {tuple(model.feature_name())}"
        )
    if unknown := [name for name in parts.features if name not in BY_NAME]:
        raise BundleError(f"manifest: features {unknown} are not in the catalogue")
    columns = ["product", *parts.features]
    if parts.reference.columns != columns:
        raise BundleError(
            f"reference.parquet: expected the columns {columns}, got {parts.reference.columns}"
        )
    products = set(parts.reference["product"].unique())
    if products != set(parts.reference_notes) or not products:
        raise BundleError(
            f"reference.parquet: expected the products {sorted(parts.reference_notes)}, got {sorted(products)}"
        )
    for product, note in parts.reference_notes.items():
        population = parts.reference.filter(product=product)
        if population.height != note.accounts:
            raise BundleError(
                f"reference.parquet: expected {note.accounts} accounts of {product}, got {population.height}"
            )
    if parts.reference.select(pl.any_horizontal(pl.exclude("product").is_infinite().any())).item():
        raise BundleError("reference.parquet: expected finite values, got an infinite one")
    if not parts.provenance.name:
        raise BundleError("manifest: expected the model's name")


def _scorer(parts: Parts, model: lgb.Booster) -> Scorer:
    """The model with its explainers, tried on every reference row: there our tables and LightGBM
    must agree.
    """
    by_product = parts.reference.partition_by("product", as_dict=True)
    populations = {str(product): _rows(rows) for (product,), rows in by_product.items()}
    try:
        layout = flatten_trees(read_trees(model))
        scorer = Scorer(
            model,
            parts.calibration,
            {product: make_explainer(layout, rows) for product, rows in populations.items()},
        )
        for product, rows in populations.items():
            score(rows, [product] * len(rows), scorer)
    except (TreeError, AdditivityError) as error:
        raise BundleError(f"model.txt: {error}") from error
    return scorer


def medians_of(rows: pl.DataFrame) -> dict[str, float]:
    """Column -> median of the values that are known, NaN where fewer than half are: no one to
    compare with.
    """
    known = (
        pl.when(pl.col(name).null_count() * 2 <= pl.len()).then(pl.col(name).median())
        for name in rows.columns
    )
    found = rows.select(
        column.alias(name) for name, column in zip(rows.columns, known, strict=True)
    ).row(0)
    return {
        name: math.nan if value is None else float(value)
        for name, value in zip(rows.columns, found, strict=True)
    }


def _rows(population: pl.DataFrame) -> NDArray[np.float64]:
    return population.drop("product").fill_null(math.nan).to_numpy()


def _check_rules(policy: Policy) -> None:
    named = {c.feature for rule in policy.rules for c in rule.when} | {
        r.cap_of for r in policy.rules if r.cap_of
    }
    if unknown := sorted(named - BY_NAME.keys()):
        raise BundleError(f"policy.toml: rules name {unknown}, which are not in the catalogue")


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", statistics=False)
    return buffer.getvalue()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False) + "\n"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
