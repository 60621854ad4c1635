"""The parts of the command line that commands share: their options and progress bars."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

from tqdm import tqdm

from training.tracking.progress import CountProgress, StageProgress


class Command:
    """The parser of one command.

    Its defaults are those of the command's function in :mod:`training.api`.
    """

    def __init__(self, parser: argparse.ArgumentParser, function: Callable[..., object]) -> None:
        self.parser = parser
        self._parameters = inspect.signature(function).parameters

    def option(self, flag: str, help: str, **more: Any) -> None:
        """Add an option with the default of the function's parameter of this name."""
        parameter = flag.removeprefix("--").replace("-", "_")
        default = self._parameters[parameter].default
        if default is False:
            self.parser.add_argument(flag, action="store_true", help=help)
        else:
            # argparse applies ``type`` to a default that is text too.
            said = "" if default is None or "(default:" in help else f" (default: {default})"
            self.parser.add_argument(flag, default=default, help=help + said, **more)

    def data(self, help: str = "folder of the data") -> None:
        """Add the option of the data's folder."""
        self.option("--data", help, type=Path)

    def model(self) -> None:
        """Add the options that name a registered model and its store."""
        self.option("--store", "folder of the MLflow store", type=Path)
        self.option("--name", "name of the registered model")

    def version(self) -> None:
        """Add the option that selects a version of the model."""
        self.option("--version", "number or alias (default: the champion)")

    def settings(self) -> None:
        """Add ``--set`` for the fields of the configs; the name of a fit's model is one of them."""
        self.parser.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="set a field of the command's configs (an unknown NAME lists them); repeatable",
        )
        self.quiet()

    def quiet(self) -> None:
        """Add the option that hides the progress bar."""
        self.parser.add_argument("--quiet", action="store_true", help="show no progress bar")

    def scheduler(self) -> None:
        """Add the option that lets a Dask cluster compute."""
        where = "a Dask cluster computes: tcp://HOST:PORT, tls://HOST:PORT, or local"
        self.parser.add_argument("--scheduler", metavar="ADDRESS", help=where)

    def page(self, help: str = "also write the page to this file") -> None:
        """Add the option of a file for the page."""
        self.parser.add_argument("--page", type=Path, help=help)


def _bar(
    options: argparse.Namespace,
    unit: str,
    total: int | None = None,
) -> tqdm[Any]:
    # ``None`` draws no bar if the output is not a terminal.
    disable = options.quiet or None
    return tqdm(
        total=total,
        unit=unit,
        desc=options.command,
        disable=disable,
    )


@contextmanager
def stage_bar(stages: type[StrEnum], options: argparse.Namespace) -> Iterator[StageProgress]:
    """A progress bar of the stages of a command; yields its progress."""
    with _bar(options, "stage", len(stages)) as bar:

        def show(stage: str) -> None:
            bar.set_postfix_str(stage)
            bar.update()

        yield show


@contextmanager
def count_bar(unit: str, options: argparse.Namespace) -> Iterator[CountProgress]:
    """A progress bar of units, such as accounts; yields its progress."""
    with _bar(options, unit) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


@contextmanager
def trial_bar(options: argparse.Namespace) -> Iterator[Callable[[Sequence[Any], int], None]]:
    """A progress bar of the trials of a search; yields its progress."""
    with _bar(options, "trial") as bar:

        def show(trials: Sequence[Any], total: int) -> None:
            scores = [trial.scored for trial in trials if trial.whole]
            best = max(scores, key=lambda score: score.mean_auc)
            bar.total = total
            text = f"best AUC {best.mean_auc:.4f}, {best.mean_leaves:,.0f} leaves"
            bar.set_postfix_str(text, refresh=False)
            bar.update(len(trials) - bar.n)

        yield show
