"""The benchmark's JSON to docs/benchmarks.md: `python tests/benches/table.py RESULTS.json PAGE.md`."""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

HEAD = """# Benchmarks

`make bench` measures everything below in one run and writes this page. Times on a shared machine drift; ratios within
a run hold.

{machine}

| what | median | rate |
|---|---|---|
"""
RATIOS = (
    ("fit: ours to bare `lgb.train` on the same matrix", "test_fit[clearline]", "test_fit[bare_lightgbm]", "at most 1.15"),
    (
        "HTTP: a decision to an empty BentoML endpoint with its default settings and the same payload",
        "test_http[clearline]",
        "test_http[empty_bentoml_endpoint]",
        "",
    ),
)


def page(results: dict[str, Any]) -> str:
    """The page's text for pytest-benchmark's results."""
    found = {bench["name"]: bench for bench in results["benchmarks"]}
    text = HEAD.format(machine=_machine(results))
    for name, bench in found.items():
        median, info = bench["stats"]["median"], bench["extra_info"]
        rate = f"{info['rows'] / median:,.0f} {info['unit']}/s"
        text += f"| {name.removeprefix('test_').replace('_', ' ')} | {_time(median)} | {rate} |\n"
    text += "\n| ratio of medians in this run | | wanted |\n|---|---|---|\n"
    for what, ours, other, wanted in RATIOS:
        text += f"| {what} | {found[ours]['stats']['median'] / found[other]['stats']['median']:.2f} | {wanted} |\n"
    text += "\n| one request over HTTP, one client | p50 | p99 |\n|---|---|---|\n"
    for name in ("test_http[empty_bentoml_endpoint]", "test_http[clearline]"):
        times = sorted(found[name]["stats"]["data"])
        p50, p99 = times[len(times) // 2], times[int(len(times) * 0.99)]
        text += f"| {name.removeprefix('test_http[').removesuffix(']').replace('_', ' ')} | {_time(p50)} | {_time(p99)} |\n"
    return text


def _machine(results: dict[str, Any]) -> str:
    cpu = results["machine_info"]["cpu"]
    libraries = ", ".join(f"{name} {version(name)}" for name in ("bentoml", "lightgbm", "numpy", "polars"))
    return f"Measured on {cpu['brand_raw']}, {cpu['count']} cores, Python {platform.python_version()}, {libraries}."


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"


if __name__ == "__main__":
    results, target = Path(sys.argv[1]), Path(sys.argv[2])
    target.write_text(page(json.loads(results.read_text())), "utf-8")
    print(f"wrote {target}")
