"""How a fit is done again: its command, and a page that says on what and with what.

The same data, code, config and libraries give the same model, byte for byte (``model digest``); the
bundle around it also names its run and version, so that its own digest is another in another store.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.tracking.config import as_assignments

PAGE = """# How to reproduce this run

    {command}

{changed}The command refuses other data than those of this run. `--store` names another store.

| what | this run |
|---|---|
{facts}

The model is the same where the tag `model.digest` is: the sha256 of `bundle/model.txt`.
"""


_CHANGED = """**The code was changed since its commit: this command alone does not make the model again.** What was changed in
files that git knows of stands beside this page in `{0}`: `git checkout` the commit without its `-dirty`, and `git apply {0}`.

"""


def fit_command(
    data: Path, store: Path | None, configs: tuple[Any, ...], digest: str | None = None
) -> str:
    """The shell command that fits with these configs: a ``--set`` for every field that is not at
    its default.

    ``digest``: of the data that it is to insist on.  ``store`` None = the command's own default.

    >>> from training.data.config import DataConfig
    >>> fit_command(Path("my data"), None, (DataConfig(as_of_every=3),))
    "python -m training fit --data 'my data' --set as_of_every=3"
    """
    words = ["python", "-m", "training", "fit", "--data", str(data)]
    words += [] if store is None else ["--store", str(store)]
    words += [] if digest is None else ["--data-digest", digest]
    for setting in as_assignments(configs):
        words += ["--set", setting]
    return shlex.join(words)


def reproduce_page(command: str, facts: Mapping[str, str], changed: str | None = None) -> str:
    """``reproduce.md``: the command, and what has to be the same, in Markdown; ``changed`` = the
    file with changes of the code that were never committed."""
    return PAGE.format(
        command=command,
        changed=_CHANGED.format(changed) if changed else "",
        facts="\n".join(f"| {name} | {value or 'not known'} |" for name, value in facts.items()),
    )


def model_digest(model_text: str) -> str:
    """sha256 of the model as the bundle holds it."""
    return hashlib.sha256(model_text.encode()).hexdigest()
