"""Randomly damaged copies of the golden bundle, with wrong digests or with corrected ones.

A copy is *sealed again* if its digests were computed after the damage.  This module reads the
golden bundle and uses only the file names of the code under test.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from random import Random

import polars as pl

from serving.decision.bundle import FILES, SEAL
from tests.support.paths import ROOT

GOLDEN = ROOT / "tests" / "golden" / "bundle"
MANIFEST = "manifest.json"

Files = dict[str, bytes]
Damage = Callable[[Files, Random], Files]


# Damage to any file.


def bit(files: Files, random: Random, among: Iterable[str] = ()) -> Files:
    name = random.choice(sorted(among or files))
    content = bytearray(files[name])
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    return files | {name: bytes(content)}


def truncated(files: Files, random: Random, among: Iterable[str] = ()) -> Files:
    name = random.choice(sorted(among or files))
    return files | {name: files[name][: random.randrange(len(files[name]))]}


def exchanged(files: Files, random: Random, among: Iterable[str] = ()) -> Files:
    one, other = random.sample(sorted(among or files), 2)
    return files | {one: files[other], other: files[one]}


def removed(files: Files, random: Random) -> Files:
    name = random.choice(sorted(files))
    return {other: content for other, content in files.items() if other != name}


def added(files: Files, random: Random) -> Files:
    name = random.choice(sorted(files))
    names = [f"{name}.bak", f"{name}.pkl", f".{name}", "model.pkl", "notes.md"]
    return files | {random.choice(names): files[name]}


UNSEALED: Mapping[str, Damage] = {
    "bit": bit,
    "truncated": truncated,
    "exchanged": exchanged,
    "removed": removed,
    "added": added,
}

# Damage that is sealed again.


def _digit(content: bytes, random: Random, within: str) -> bytes:
    """The text with another digit in one of the numbers that the pattern ``within`` finds."""
    number = random.choice(list(re.finditer(within, content.decode())))
    start = len(number.string[: number.start()].encode())
    digits = [start + place for place, letter in enumerate(number.group()) if letter.isdecimal()]
    place = random.choice(digits)
    other = random.choice([digit for digit in b"0123456789" if digit != content[place]])
    return content[:place] + bytes([other]) + content[place + 1 :]


def digit(files: Files, random: Random, name: str, within: str) -> Files:
    return files | {name: _digit(files[name], random, within)}


def in_trees(files: Files, random: Random, line: str) -> Files:
    """Another digit in a number of a random tree's line of this name."""
    lines = files["model.txt"].split(b"\n")
    start = f"{line}=".encode()
    place = random.choice([k for k, text in enumerate(lines) if text.startswith(start)])
    lines[place] = _digit(lines[place], random, r"(?<=[= ])-?\d\S*")
    return files | {"model.txt": b"\n".join(lines)}


def features_exchanged(files: Files, random: Random) -> Files:
    """Two features exchange their names in all files, so that the files still fit together."""
    one, other = random.sample(list(_reference(files).columns[1:]), 2)
    names = {one: other, other: one}

    def rename(match: re.Match[bytes]) -> bytes:
        return names[match.group().decode()].encode()

    either = re.compile(rf"\b({one}|{other})\b".encode())
    head, trees = files["model.txt"].split(b"\nTree=", 1)
    model = either.sub(rename, head) + b"\nTree=" + trees
    manifest = either.sub(rename, files[MANIFEST])
    reference = _parquet(_reference(files).rename(names))
    return files | {"model.txt": model, MANIFEST: manifest} | reference


def order_changed(files: Files, random: Random) -> Files:
    manifest = json.loads(files[MANIFEST])
    one, other = random.sample(range(len(manifest["features"])), 2)
    order = manifest["features"]
    order[one], order[other] = order[other], order[one]
    return files | {MANIFEST: json.dumps(manifest).encode()}


def reference_value(files: Files, random: Random) -> Files:
    reference = _reference(files)
    row, name = random.randrange(reference.height), random.choice(reference.columns[1:])
    value = reference[name][row]
    other = (value or 0.0) * 2 + 1
    if value is not None and random.random() < 0.2:
        other = None
    is_row = pl.int_range(pl.len()) == row
    changed = pl.when(is_row).then(other).otherwise(name).alias(name)
    return files | _parquet(reference.with_columns(changed))


def reference_rows(files: Files, random: Random) -> Files:
    """One account is replaced by another."""
    reference = _reference(files)
    rows = list(range(reference.height))
    rows[random.randrange(len(rows))] = random.randrange(len(rows))
    return files | _parquet(reference[rows])


def inert(files: Files, random: Random) -> Files:
    """A change without effect on answers: the manifest's spaces or its label, or a comment."""
    kind = random.randrange(3)
    if kind == 0:
        manifest = json.dumps(json.loads(files[MANIFEST]), indent=random.randrange(2, 9))
        return files | {MANIFEST: manifest.encode()}
    if kind == 1:
        label = b'"label": "%d ' % random.randrange(100)
        return files | {MANIFEST: files[MANIFEST].replace(b'"label": "', label)}
    name = random.choice(["policy.toml", "reasons.toml", "advice.toml"])
    return files | {name: files[name] + b"\n# remark %d\n" % random.randrange(100)}


_IN_TOML = r"(?m)(?<=[=\[ ])\d[\d.]*(?=[,\] }]|$)"
_IN_JSON = r"(?<=[:\[ ])-?\d[\d.e-]*"
_IN_ANSWERS = r'"(?:log_odds|base_log_odds|new_limit|contributions)": (?:\[[^\]]*|[^,\]]+)'
_SEALED = (*FILES, MANIFEST)
RESEALED: Mapping[str, Damage] = {
    "model digit": partial(digit, name="model.txt", within=r"(?<=[= ])-?\d\S*"),
    "model bit": partial(bit, among=["model.txt"]),
    "threshold": partial(in_trees, line="threshold"),
    "leaf": partial(in_trees, line="leaf_value"),
    "split": partial(in_trees, line="split_feature"),
    "calibration": partial(digit, name=MANIFEST, within=r'"(?:slope|intercept)": [^,\s]+'),
    "features exchanged": features_exchanged,
    "order changed": order_changed,
    "reference value": reference_value,
    "reference rows": reference_rows,
    "reference bit": partial(bit, among=["reference.parquet"]),
    "policy number": partial(digit, name="policy.toml", within=_IN_TOML),
    "wording number": partial(digit, name="reasons.toml", within=_IN_TOML),
    "advice number": partial(digit, name="advice.toml", within=_IN_TOML),
    "rules bit": partial(bit, among=["policy.toml", "reasons.toml", "advice.toml"]),
    "golden answer": partial(digit, name="golden.json", within=_IN_ANSWERS),
    "golden number": partial(digit, name="golden.json", within=_IN_JSON),
    "golden bit": partial(bit, among=["golden.json"]),
    "manifest number": partial(digit, name=MANIFEST, within=_IN_JSON),
    "manifest bit": partial(bit, among=[MANIFEST]),
    "truncated": partial(truncated, among=_SEALED),
    "exchanged": partial(exchanged, among=_SEALED),
    "inert": inert,
}


def _reference(files: Files) -> pl.DataFrame:
    return pl.read_parquet(io.BytesIO(files["reference.parquet"]))


def _parquet(frame: pl.DataFrame) -> Files:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", statistics=False)
    return {"reference.parquet": buffer.getvalue()}


def sealed(files: Files, undamaged: Files) -> Files:
    """The files with matching digests.

    The digests replace the old ones in the text, because a damaged manifest may not be JSON.
    """
    manifest = files[MANIFEST]
    for name in FILES:
        manifest = manifest.replace(_sha256(undamaged[name]), _sha256(files[name]))
    return files | {MANIFEST: manifest, SEAL: _sha256(manifest) + b"\n"}


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def copies(
    kinds: Mapping[str, Damage], each: int, seed: int, seal: bool
) -> Iterator[tuple[str, Files]]:
    """``each`` damaged copies of every kind, all of them different from the golden bundle."""
    undamaged = {name: (GOLDEN / name).read_bytes() for name in (*FILES, MANIFEST, SEAL)}
    for kind, damage in kinds.items():
        random = Random(f"{seed} {kind}")
        count = 0
        while count < each:
            files = damage(undamaged, random)
            if files == undamaged:
                continue
            yield kind, sealed(files, undamaged) if seal else files
            count += 1


def put(files: Files, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder
