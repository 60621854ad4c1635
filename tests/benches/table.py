"""Writes docs/service/benchmarks.md: `python tests/benches/table.py RESULTS.json PAGE.md`."""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

HEAD = """# Benchmarks

`make bench` measures everything below in one run and writes this page. Times on a shared machine
drift; ratios within a run hold.

{machine}
"""
BESIDE_DICE = """\
The comparison is with [DiCE](https://github.com/interpretml/DiCE), which answers another question
about the same model. DiCE changes features independently until the model is below the cut-off; it
gives neither actions nor the time that they take. A plan is behaviour of coming months, computed
through the account's own ledger. It counts as found only if the policy restores the limit within
the months looked ahead, with the margin, at payments within reach. Its features come from one
ledger, so they cannot contradict each other; the last three columns are counted for DiCE alone.
"""
DICE_GIVEN = """
DiCE runs with its defaults, one counterfactual an account, on {given:,} rows of the training data.
It may change what behaviour can change (last row: everything). It accepts no missing values and
rejects {refused} of the {accounts} accounts as they are; here it gets medians instead, which it may
not change, and the model gets the account itself. It is stopped after {seconds:g} s. *Worse* means
that a feature moved to the side that raises the risk. *Contradictory* means that no account can
have these values, such as more late months in 3 than in 6, or two different debts implied by the
income and by the limit; every row of the data passes. Rewritten past months without such a
contradiction are not counted. `kdtree` searches for another account with the same values of all
fixed features, including the income, and rarely finds one.
"""
NO_DICE = """\
DiCE was not installed in this run: `.venv/bin/python -m pip install --editable '.[peers]'` before
`make bench`.
"""
LIBRARIES = ("bentoml", "lightgbm", "numba", "numpy", "polars", "shap", "woodelf-explainer")
Bench = dict[str, Any]


def page(results: dict[str, Any]) -> str:
    """The page's text for pytest-benchmark's results."""
    found = {bench["name"].removeprefix("test_"): bench for bench in results["benchmarks"]}
    head = HEAD.format(machine=_machine(results))
    parts = [
        head,
        _stages(found),
        _one_decision(found),
        _http(found),
        _lookup(found),
        _advice(found),
        _explanations(found),
        _growth(found),
    ]
    return "\n".join(parts)


def _stages(found: dict[str, Bench]) -> str:
    elsewhere = (
        "advise_beside",
        "dice",
        "explain",
        "growth",
        "http",
        "load",
        "lookup",
        "pack",
        "size",
        "stages_of",
        "the_numpy_form",
        "whole_fit",
    )
    names = [name for name in found if not name.startswith(elsewhere)]
    rows = [
        [name.replace("_", " "), _time(_median(found[name])), _rate(found[name])] for name in names
    ]
    rows += [
        [f"a whole fit, {how}", _time(found["whole_fit"]["extra_info"][how]), ""]
        for how in ("untracked", "tracked")
    ]
    fit = _median(found["fit[clearline]"]) / _median(found["fit[bare_lightgbm]"])
    whole = found["whole_fit"]["extra_info"]
    cut = _median(found["decide_in_process_on_one[cut]"])
    kept = _median(found["decide_in_process_on_one[kept]"])
    remembering = _median(found["decide_in_process_with_a_prior"])
    prior = remembering / _median(found["decide_in_process"])
    changed = _median(found["decide_in_process_since_last"])
    added = 1000 * (changed - _median(found["decide_in_process"]))
    ratios = [
        ["a decision with a prior to one without", f"{prior:.2f}", "at most 1.10"],
        ["what changed since the earlier decision, added to a decision", f"{added:.1f} ms", "5 ms"],
        [
            "a decision on an account that the model cuts to a kept one",
            f"{cut / kept:.2f}",
            "at most 1.2",
        ],
        ["fit: ours to bare `lgb.train` on the same matrix", f"{fit:.2f}", "at most 1.15"],
        [
            "a whole `fit` to the same without figures and MLflow",
            f"{whole['ratio']:.2f}",
            "at most 1.25",
        ],
    ]
    return "\n".join(
        [
            _table(["what", "median", "rate"], rows),
            _table(["ratio of medians in this run", "", "wanted"], ratios),
        ]
    )


def _one_decision(found: dict[str, Bench]) -> str:
    """What each stage of one decision costs, and its share of the whole."""
    cases = ("kept", "cut")
    costs = {case: found[f"stages_of[{case}]"]["extra_info"]["stages"] for case in cases}
    rows = []
    for stage in costs["cut"]:
        row = [stage]
        for case in cases:
            seconds = costs[case].get(stage, 0.0)
            row += [_time(seconds), f"{seconds / costs[case]['whole']:.0%}"]
        rows.append(row)
    return "\n".join(
        [
            "## The stages of a decision\n",
            "From the bytes of a request to those of its answer, in process, by CPU time.\n",
            _table(["stage", "kept", "share", "cut by the model", "share"], rows),
        ]
    )


def _http(found: dict[str, Bench]) -> str:
    """A kept decision over HTTP, with and without storage, beside an empty endpoint."""
    if "http" not in found:
        return "## Over HTTP\n\nNot measured: wrk was not installed in this run.\n"
    info = found["http"]["extra_info"]
    named = {
        "empty": ("an empty BentoML endpoint, default settings", "", ""),
        "without": ("Clearline, stores nothing", "at most 1.0", ""),
        "with": ("Clearline, answers what is durable (SQLite)", "at most 3", "at least 0.7"),
    }
    rows = []
    for name, (said, slower, faster) in named.items():
        one = info[name]
        row = [said, _time(one["p50"]), _time(one["p99"]), f"{one['to_empty']:.2f}", slower]
        row += [f"{one['rate']:,.0f}/s", f"{one['rate_to_empty']:.2f}", faster]
        rows.append(row)
    together = f"{info['clients']} clients"
    header = ["the service", "one client, p50", "p99", "p50 to empty", "wanted"]
    header += [together, f"{together} to empty", "wanted"]
    return "\n".join(
        [
            "## Over HTTP\n",
            "A decision that keeps the limit, about another account each time, and the same "
            "request to an endpoint that does nothing. The single client is a socket, the others "
            "are [wrk](https://github.com/wg/wrk)'s.\n",
            _table(header, rows),
        ]
    )


def _lookup(found: dict[str, Bench]) -> str:
    """The look-up of an account's past, beside an empty statement by the same door."""
    named = {"empty": "`SELECT 1`", "kept": "limit always kept", "cut": "limit cut once"}
    rows = []
    for kind in ("sqlite", "postgresql"):
        info = found[f"lookup[{kind}]"]["extra_info"]
        for name, said in named.items():
            times = [info[f"{name}_{one}"] for one in ("cpu", "cpu_least", "clock", "clock_least")]
            rows.append([kind, said, *(f"{one:.3f} ms" for one in times)])
    info = found["lookup[sqlite]"]["extra_info"]
    header = ["database", "account", "CPU, median", "least", "clock, median", "least"]
    return "\n".join(
        [
            f"What a decision looks up of its account's past, among {info['rows']:,} decisions "
            "(wanted: at most 0.2 ms):\n",
            _table(header, rows),
            f"A decision takes {info['bytes'] / 1000:.1f} kB of SQLite (wanted: 3 kB), and to pack "
            f"its content {_time(_median(found['pack']))}.\n",
        ]
    )


def _advice(found: dict[str, Bench]) -> str:
    p50, p99 = (_time(_quantile(found["advise_in_process"], share)) for share in (0.5, 0.99))
    many = 10_000 / found["advise_10_000_accounts"]["stats"]["mean"]
    ours = found["advise_beside_dice"]
    accounts = ours["extra_info"]["accounts"]
    rows = [["Clearline: a plan, its steps", *_answered(ours), "-", "-", "-"]]
    dice = {name: bench for name, bench in found.items() if name.startswith("dice[")}
    for name, bench in dice.items():
        info, (method, _, allowed) = (
            bench["extra_info"],
            name.removeprefix("dice[").removesuffix("]").partition("_"),
        )
        said = [
            str(info[what]) if info["found"] else "-"
            for what in ("fixed", "worse", "contradictory")
        ]
        rows.append(
            [f"DiCE, `{method}` {allowed.replace('_', ' ')}".rstrip(), *_answered(bench), *said]
        )
    header = [
        f"{accounts} accounts above the cut-off",
        "p50",
        "slowest",
        "turned",
        "changes, median",
    ]
    about = next(iter(dice.values()))["extra_info"] if dice else None
    return "\n".join(
        [
            "## Advice\n",
            f"One cut account, another each time: p50 {p50}, p99 {p99} "
            "(wanted: 60 ms and 150 ms). 10,000 cut accounts in one call on two threads: "
            f"{many:,.0f} accounts a second (wanted: 200).\n",
            BESIDE_DICE if about is None else BESIDE_DICE + DICE_GIVEN.format(**about),
            _table(
                [
                    *header,
                    "with what nobody can change",
                    "with something worse",
                    "contradicting themselves",
                ],
                rows,
            ),
            *([] if dice else [NO_DICE]),
        ]
    )


def _answered(bench: Bench) -> list[str]:
    info = bench["extra_info"]
    changed = f"{info['changed']:g}" if info["flipped"] else "-"
    turned = (
        f"{info['flipped']} ({info['stopped']} stopped)"
        if info.get("stopped")
        else str(info["flipped"])
    )
    return [_time(_quantile(bench, 0.5)), _time(bench["stats"]["max"]), turned, changed]


def _explanations(found: dict[str, Bench]) -> str:
    many = {
        how: found[f"explain_100_000_rows[{how}]"]
        for how in ("clearline", "numpy", "pred_contrib", "woodelf", "predict")
    }
    one = {
        how: found[f"explain_one_row[{how}]"]
        for how in ("clearline", "numpy", "pred_contrib", "shap", "predict")
    }
    named = {
        "clearline": "Clearline",
        "numpy": "the same tables in NumPy, one core",
        "pred_contrib": "LightGBM `predict(pred_contrib=True)`, path-dependent",
        "woodelf": "woodelf-explainer, same reference",
        "shap": "`shap.TreeExplainer`, interventional, same reference",
        "predict": "LightGBM `predict(raw_score=True)`: the score alone",
    }
    of_many = [
        [
            named[how],
            _time(_median(bench)),
            _rate(bench),
            f"{_median(bench) / _median(many['clearline']):.1f}",
        ]
        for how, bench in many.items()
    ]
    of_one = [
        [named[how], *(_time(_quantile(bench, q)) for q in (0.5, 0.99))]
        + [f"{_quantile(bench, q) / _quantile(one['clearline'], q):,.1f}" for q in (0.5, 0.99)]
        for how, bench in one.items()
    ]
    load = [
        [
            start.replace("_", " "),
            *(f"{seconds:.2f} s, {mib:.0f} MiB" for seconds, mib in (info["import"], info["load"])),
        ]
        for start in ("first_start", "later_start")
        for info in [found[f"load_200_trees_of_16_leaves_against_5000[{start}]"]["extra_info"]]
    ]
    ratio = found["size_of_the_reference"]["extra_info"]["against 10,000 to against 100"]
    return "\n".join(
        [
            "## Explanations\n",
            "The default model on the default data, against one product's reference of "
            "1,000 accounts.\n",
            _table(["100,000 rows, all cores", "time", "rate", "times ours"], of_many),
            "Wanted: 40 times `pred_contrib`, 8 times woodelf-explainer.\n",
            _table(
                ["one row, another each time", "p50", "p99", "p50 to ours", "p99 to ours"], of_one
            ),
            "Wanted: 10 times `pred_contrib` with one thread at p50 and 6 times at p99, "
            "1,000 times `shap`.\n",
            _table(
                [
                    "a process that starts, 200 trees of 16 leaves, N = 5,000",
                    "import",
                    "tables and warm-up",
                ],
                load,
            ),
            "Wanted: tables and warm-up in 2 s and 100 MB; "
            "on the first start that includes compiling.\n",
            f"The same rows against 10,000 reference rows take {ratio:.3f} times the time "
            "against 100 (wanted: within 5 %).\n",
        ]
    )


def _growth(found: dict[str, Bench]) -> str:
    rows = [
        [
            str(info["trees"]),
            str(info["depth"]),
            f"{info['leaves']:,}",
            f"{info['tables']:.1f} MiB",
            f"{info['ns']:.2f}",
            _time(_median(bench) / info["rows"]),
            _time(info["one"]),
        ]
        for name, bench in found.items()
        if name.startswith("growth")
        for info in [bench["extra_info"]]
    ]
    header = [
        "trees",
        "depth",
        "leaves",
        "tables",
        "ns a leaf and row",
        "a row among many",
        "one row",
    ]
    text = "How the cost grows, on one core; a bound of 1 ns a leaf and row was set beforehand.\n"
    return f"{text}\n{_table(header, sorted(rows, key=lambda row: (int(row[0]), int(row[1]))))}"


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _median(bench: Bench) -> float:
    return float(bench["stats"]["median"])


def _quantile(bench: Bench, share: float) -> float:
    times = sorted(bench["stats"]["data"])
    return float(times[int(len(times) * share)])


def _rate(bench: Bench) -> str:
    info = bench["extra_info"]
    return f"{info['rows'] / _median(bench):,.0f} {info['unit']}/s"


def _machine(results: dict[str, Any]) -> str:
    cpu = results["machine_info"]["cpu"]
    with_dice = any(bench["name"].startswith("test_dice[") for bench in results["benchmarks"])
    names = sorted((*LIBRARIES, *(["dice-ml"] if with_dice else [])))
    libraries = ", ".join(f"{name} {version(name)}" for name in names)
    machine = f"{cpu['brand_raw']}, {cpu['count']} cores"
    return f"Measured on {machine}, Python {platform.python_version()}, {libraries}."


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds * 1e6:.1f} us"


if __name__ == "__main__":
    results, target = Path(sys.argv[1]), Path(sys.argv[2])
    target.write_text(page(json.loads(results.read_text(encoding="utf-8"))), "utf-8")
    print(f"wrote {target}")
