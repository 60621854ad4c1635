"""How to repeat a fit: its command, and a page with everything that has to be the same.

The same data, code, config and libraries give the same model byte for byte (``model.digest``).  The
bundle also names its run and version, so its digest differs from store to store.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.tracking.config import as_assignments

_PAGE = """# How to reproduce this run

    {command}

{changed}The command refuses other data than those of this run. `--store` names another store.

| what | this run |
|---|---|
{facts}

The model is the same where the tag `model.digest` is: the sha256 of `bundle/model.txt`.
"""

_CHANGED = """\
**The code was changed since its commit: this command alone does not make the model again.**
`{0}` next to this page holds the changes to files that git tracks:
`git checkout` the commit without its `-dirty`, and `git apply {0}`.

"""


def fit_command(
    data: Path,
    store: Path | None,
    configs: tuple[Any, ...],
    digest: str | None = None,
) -> str:
    """Return the shell command that fits with these configs.

    It has a ``--set`` for every field that is not at its default.  ``digest`` is the digest that
    the data must have; ``store`` None = the default of the command.

    >>> from training.data.config import DataConfig
    >>> fit_command(Path("my data"), None, (DataConfig(as_of_every=3),))
    "python -m training fit --data 'my data' --set as_of_every=3"
    """
    words = ["python", "-m", "training", "fit", "--data", str(data)]
    if store is not None:
        words += ["--store", str(store)]
    if digest is not None:
        words += ["--data-digest", digest]
    for assignment in as_assignments(configs):
        words += ["--set", assignment]
    return shlex.join(words)


def reproduce_page(
    command: str,
    facts: Mapping[str, str],
    changes: str | None = None,
) -> str:
    """Return ``reproduce.md``: the command and the facts as a Markdown table.

    ``changes`` is the name of the file with the uncommitted changes of the code, if there are any.
    """
    rows = [f"| {name} | {value or 'not known'} |" for name, value in facts.items()]
    changed = _CHANGED.format(changes) if changes else ""
    return _PAGE.format(command=command, changed=changed, facts="\n".join(rows))


def model_digest(model_text: str) -> str:
    """Return the sha256 of the model as the bundle holds it."""
    return hashlib.sha256(model_text.encode()).hexdigest()
