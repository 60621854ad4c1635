"""The bundle: a folder with everything that a decision needs, identified by its sha256.

    bundle.sha256      sha256 of manifest.json: the bundle's digest
    manifest.json      the model's features and provenance, and the sha256 of every other file
    model.txt          LightGBM's text form
    reference.parquet  the reference populations, by product: features of accounts just below the
                       cut-off that kept their limit
    policy.toml        from probability to action
    reasons.toml       the texts of reasons and notices
    advice.toml        what a customer can do about a cut, and its texts
    economics.json     margin and credit conversion by product, as the fit learnt them
    golden.json        statements with the exact answers that they must get (see golden.py)

:func:`read` verifies every digest before it parses anything, because LightGBM's parser terminates
the process on a damaged text.  There is no pickle.
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

import polars as pl
from polars.exceptions import PanicException, PolarsError

from features.catalogue import BY_NAME
from features.display import notebook_display
from features.types import Matrix
from serving.decision.config import economics
from serving.decision.config.advice import AdviceRules, read_advice
from serving.decision.config.economics import LearntEconomics
from serving.decision.config.policy import Policy, read_policy
from serving.decision.config.reasons import Wording, read_wording
from serving.decision.reasons.comparison import Comparison, make_comparison
from serving.decision.scoring.leaf_values import make_leaf_values
from serving.decision.scoring.lightgbm_import import lgb
from serving.decision.scoring.lightgbm_trees import TreeError, read_trees
from serving.decision.scoring.score import AdditivityError, Calibration, Scorer, check_tables, score
from serving.decision.scoring.shapley import make_explainer
from serving.decision.scoring.shapley_tables import flatten_trees
from serving.decision.scoring.single_row import SingleRow

FORMAT = 8
SEAL = "bundle.sha256"
FILES = (
    "model.txt",
    "reference.parquet",
    "policy.toml",
    "reasons.toml",
    "advice.toml",
    economics.FILE,
    "golden.json",
)
# Raised by parsers, table layout and decisions for files with valid digests and wrong contents.
# PanicException, of Rust, is not a subclass of Exception.
_CONTENT_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    lgb.basic.LightGBMError,
    PanicException,
    PolarsError,
)


class BundleError(ValueError):
    """A bundle that must not be served; the message names the file and what was expected."""


@contextmanager
def content_errors(where: str) -> Iterator[None]:
    """Convert all errors that a bundle's contents cause in the block to :class:`BundleError`."""
    try:
        yield
    except BundleError:
        raise
    except _CONTENT_ERRORS as error:
        raise BundleError(
            f"{where}: not as format {FORMAT} has it: {type(error).__name__}: {error}"
        ) from error


@dataclass(frozen=True, slots=True)
class Provenance:
    """The origin of a model."""

    name: str
    version: str  # in MLflow's registry; "" if the model was fitted without MLflow
    run: str  # of MLflow; "" likewise
    label: str  # the label's definition, in words
    training_data: str  # sha256 of the statements on which the model was fitted
    libraries: Mapping[str, str]  # library -> version


@dataclass(frozen=True, slots=True)
class ReferenceNote:
    """The choice of a product's reference population; distances are in calibrated log-odds."""

    accounts: int  # in the population
    pool: int  # accounts from which they were chosen
    band: float  # wanted depth of the pool below the band in which a person decides
    widened: bool  # whether the pool reaches deeper than that, because it had too few accounts
    reach: float  # depth of the pool
    imbalance: float  # largest mean contribution of a reason group, population against pool
    lowest_log_odds: float
    highest_log_odds: float
    rule: str  # of the choice, in words


@dataclass(frozen=True, slots=True)
class Parts:
    """The contents of a bundle before it is written.

    ``never_missing`` are the features that were known for all training rows.  LightGBM scores an
    unknown value of such a feature as 0, so a person decides about an account that has one.
    ``reference`` has the column ``product`` and one float64 column per model feature.
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
    economics: LearntEconomics


@notebook_display
@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle in memory, read-only.

    ``comparisons`` are by product.
    """

    digest: str
    provenance: Provenance
    features: tuple[str, ...]
    never_missing: tuple[str, ...]
    scorer: Scorer
    reference: pl.DataFrame
    reference_digest: str
    comparisons: Mapping[str, Comparison]
    policy: Policy
    wording: Wording
    advice: AdviceRules
    economics: LearntEconomics
    golden_text: str


def assemble(parts: Parts, digest: str = "", golden_text: str = "") -> Bundle:
    """The bundle of these parts.

    Raises:
        BundleError: The parts do not fit together.
    """
    model = lgb.Booster(model_str=parts.model_text)
    _check_structure(parts, model)
    policy = read_policy(parts.policy_text, parts.economics)
    wording = read_wording(parts.reasons_text)
    check_rules(policy)
    with content_errors("policy.toml"):
        policy.cut_offs(parts.reference_notes)  # raises for a product that has no economics
    return Bundle(
        digest=digest,
        provenance=parts.provenance,
        features=parts.features,
        never_missing=parts.never_missing,
        scorer=_scorer(parts, model),
        reference=parts.reference,
        reference_digest=_sha256(_parquet(parts.reference)),
        comparisons=_comparisons(parts),
        policy=policy,
        wording=wording,
        advice=read_advice(parts.advice_text),
        economics=parts.economics,
        golden_text=golden_text,
    )


def write(parts: Parts, golden_text: str, folder: Path) -> str:
    """Write the bundle into ``folder``, completely or not at all; returns its digest.

    Raises:
        FileExistsError: ``folder`` exists.
    """
    if folder.exists():
        raise FileExistsError(f"bundle: {folder} exists already; a bundle is never overwritten")
    contents = {
        "model.txt": parts.model_text.encode(),
        "reference.parquet": _parquet(parts.reference),
        "policy.toml": parts.policy_text.encode(),
        "reasons.toml": parts.reasons_text.encode(),
        "advice.toml": parts.advice_text.encode(),
        economics.FILE: economics.write_economics(parts.economics).encode(),
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
    """The bundle in ``folder``; every byte is verified before any is parsed.

    It does not run the golden rows.  Services use :func:`serving.decision.golden.load`, which does.

    Raises:
        BundleError: The bundle is damaged or its contents are not those of this format.
    """
    # A bundle with valid digests may still have been written by another program.
    with content_errors(str(folder)):
        contents, digest = _verified(folder)
        manifest = json.loads(contents["manifest.json"])
        _check_format(folder, manifest)
        return assemble(_parts(manifest, contents), digest, contents["golden.json"].decode())


def _parts(manifest: Mapping[str, Any], contents: Mapping[str, bytes]) -> Parts:
    notes = {product: ReferenceNote(**note) for product, note in manifest["reference"].items()}
    return Parts(
        provenance=Provenance(**manifest["provenance"]),
        features=tuple(manifest["features"]),
        never_missing=tuple(manifest["never_missing"]),
        calibration=Calibration(**manifest["calibration"]),
        reference_notes=notes,
        model_text=contents["model.txt"].decode(),
        reference=pl.read_parquet(io.BytesIO(contents["reference.parquet"])),
        policy_text=contents["policy.toml"].decode(),
        reasons_text=contents["reasons.toml"].decode(),
        advice_text=contents["advice.toml"].decode(),
        economics=economics.read_economics(contents[economics.FILE].decode()),
    )


def _verified(folder: Path) -> tuple[dict[str, bytes], str]:
    """The contents of every file, with the digests that the manifest states, and its own digest."""
    expected = {SEAL, "manifest.json", *FILES}
    files = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if files != expected:
        # Another format has other files: its number says more than their names.
        if unverified := _read_unverified(folder / "manifest.json"):
            _check_format(folder, unverified)
        missing, unexpected = sorted(expected - files), sorted(files - expected)
        raise BundleError(f"{folder}: missing {missing}, unexpected {unexpected}")
    contents = {name: (folder / name).read_bytes() for name in expected}
    digest = _sha256(contents["manifest.json"])
    if contents[SEAL] != f"{digest}\n".encode():
        raise BundleError(
            f"{folder}/manifest.json: its sha256 is {digest}, not what {SEAL} states; "
            "the bundle is damaged"
        )
    stated = json.loads(contents["manifest.json"]).get("files", {})
    for name in FILES:
        if _sha256(contents[name]) != stated.get(name):
            raise BundleError(
                f"{folder}/{name}: its sha256 is not what the manifest states; "
                "the bundle is damaged"
            )
    return contents, digest


def _check_format(folder: Path, manifest: Mapping[str, Any]) -> None:
    if manifest.get("format") != FORMAT:
        raise BundleError(
            f"{folder}: expected bundle format {FORMAT}, got {manifest.get('format')!r}; "
            "fit the model again with this version of the project"
        )


def _read_unverified(manifest: Path) -> dict[str, Any]:
    """The manifest, for the message about a bundle that is refused; empty without one."""
    return json.loads(manifest.read_text("utf-8")) if manifest.is_file() else {}


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
    names = tuple(model.feature_name())
    if names != parts.features:
        raise BundleError(f"model.txt: expected the features {parts.features}, got {names}")
    if unknown := [name for name in parts.features if name not in BY_NAME]:
        raise BundleError(f"manifest: features {unknown} are not in the catalogue")
    _check_reference(parts)
    if not parts.provenance.name:
        raise BundleError("manifest: expected the model's name")


def _check_reference(parts: Parts) -> None:
    reference, notes = parts.reference, parts.reference_notes
    columns = ["product", *parts.features]
    if reference.columns != columns:
        raise BundleError(
            f"reference.parquet: expected the columns {columns}, got {reference.columns}"
        )
    products = set(reference["product"].unique())
    if products != set(notes) or not products:
        raise BundleError(
            f"reference.parquet: expected the products {sorted(notes)}, got {sorted(products)}"
        )
    for product, note in notes.items():
        accounts = reference.filter(product=product).height
        if accounts != note.accounts:
            raise BundleError(
                f"reference.parquet: expected {note.accounts} accounts of {product}, got {accounts}"
            )
    if reference.select(pl.any_horizontal(pl.exclude("product").is_infinite().any())).item():
        raise BundleError("reference.parquet: expected finite values, got an infinite one")


def _scorer(parts: Parts, model: lgb.Booster) -> Scorer:
    """The model with its explainers and tables, which must agree on every reference row."""
    by_product = parts.reference.partition_by("product", as_dict=True)
    populations = {str(product): _rows(rows) for (product,), rows in by_product.items()}
    try:
        forest = read_trees(model)
        layout = flatten_trees(forest)
        explainers = {
            product: make_explainer(layout, rows) for product, rows in populations.items()
        }
        tables = make_leaf_values(forest, layout)
        scorer = Scorer(model, parts.calibration, explainers, SingleRow(model), tables)
        for product, rows in populations.items():
            check_tables(rows, score(rows, [product] * len(rows), scorer), scorer)
    except (TreeError, AdditivityError) as error:
        raise BundleError(f"model.txt: {error}") from error
    return scorer


def _comparisons(parts: Parts) -> dict[str, Comparison]:
    comparisons = {}
    for (name,), rows in parts.reference.group_by("product", maintain_order=True):
        product = str(name)
        chosen = parts.reference_notes[product].rule
        comparisons[product] = make_comparison(product, rows.select(parts.features), chosen)
    return comparisons


def _rows(population: pl.DataFrame) -> Matrix:
    return population.drop("product").fill_null(math.nan).to_numpy()


def check_rules(policy: Policy) -> None:
    """Raise :class:`BundleError` for a policy whose rules name unknown features."""
    features: set[str] = set()
    for rule in policy.rules:
        features |= {condition.feature for condition in rule.when}
        if rule.cap_of:
            features.add(rule.cap_of)
    if unknown := sorted(features - BY_NAME.keys()):
        raise BundleError(f"policy.toml: rules name {unknown}, which are not in the catalogue")


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", statistics=False)
    return buffer.getvalue()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False) + "\n"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
