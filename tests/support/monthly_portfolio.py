"""A book of simulated accounts that the command for a portfolio decides on every month."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from serving.__main__ import main
from serving.audit_log.log import AuditLog
from serving.decision.bundle import Bundle
from serving.portfolio.run import MANIFEST
from tests.support.monthly_run import Answer, Book
from tests.support.submissions import LENDER
from training.examine.truth.population import Population

# What an answer on an account that plainly keeps its limit has besides the columns of its row.
PLAIN: Answer = {"prior": None, "notice": None}
FILES = 2


class PortfolioBook(Book):
    """A book whose statements go into Parquet files each month, and whose decisions come from such.

    ``table`` has the decisions of the last run, ``decisions`` their folder, ``manifest`` what that
    says, and ``report`` what the command printed.
    """

    def __init__(
        self, population: Population, bundle: Bundle, audit_log: AuditLog, places: tuple[Path, Path]
    ) -> None:
        super().__init__(population, bundle, audit_log)
        self._bundle_folder, self._folder = places
        self.table = pl.DataFrame()
        self.decisions = self._folder
        self.manifest: dict[str, Any] = {}
        self.report = ""

    def decide(self) -> dict[str, Answer]:
        """Run the command, and put its decisions in force; returns the answers by account."""
        rows = np.flatnonzero(self.is_open)
        month = self._folder / f"{self.as_of:%Y-%m}"
        month.mkdir(parents=True)
        statements = self.statements(rows)
        place = pl.col("account_id").rank("dense") % FILES
        for part in range(FILES):
            statements.filter(place == part).write_parquet(month / f"part-{part}.parquet")
        self.decisions = month.with_name(f"{month.name}-decisions")
        self._run(month)
        self.manifest = json.loads((self.decisions / MANIFEST).read_text("utf-8"))
        tables = [pl.read_parquet(file) for file in sorted(self.decisions.glob("*.parquet"))]
        self.table = pl.concat(tables)
        answers = {row["account_id"]: _answer(row) for row in self.table.iter_rows(named=True)}
        self.put_in_force(answers)
        return answers

    def _run(self, month: Path) -> None:
        command = ["portfolio", str(month), "--out", str(self.decisions), "--workers", "1"]
        command += ["--bundle", str(self._bundle_folder), "--tenant", LENDER.tenant, "--record"]
        command += ["--decided-at", self.decided_at.isoformat()]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            code = main(command)
        self.report = printed.getvalue()
        assert code == 0, self.report


def _answer(row: dict[str, Any]) -> Answer:
    if row["answer"] is None:
        return row | PLAIN
    answer: Answer = json.loads(row["answer"])
    return answer
