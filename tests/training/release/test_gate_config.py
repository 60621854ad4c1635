from __future__ import annotations

from pathlib import Path

import pytest

from training.release.gate_config import GateError, load_gates, own_gates, read_gates


def test_the_project_s_own_gates_are_read() -> None:
    gates = load_gates()
    assert gates.fairness.min_impact_ratio == 0.8
    assert gates == read_gates(own_gates())


@pytest.mark.parametrize(
    ("there", "instead", "words"),
    [
        (
            "max_ece",
            "most_eces",
            "gates.calibration: 'most_eces' is no key of it, did you mean 'max_ece'?",
        ),
        ("[fairness]", "[fairnes]", "gates: 'fairnes' is no key of it, did you mean 'fairness'?"),
        (
            "min_auc = 0.65",
            "zzz = 1",
            "gates.discrimination: 'zzz' is no key of it, there are ['min_auc', 'max_auc_lost']",
        ),
        ("max_ece = 0.02", "", "gates.calibration: missing ['max_ece']"),
        (
            "max_ece = 0.02",
            "max_ece = true",
            "gates.calibration.max_ece: expected a number of at least 0, got True",
        ),
        (
            "max_ece = 0.02",
            "max_ece = nan",
            "gates.calibration.max_ece: expected a number of at least 0, got nan",
        ),
        ("max_ece = 0.02", "max_ece = 2", "gates.calibration.max_ece: expected at most 1, got 2"),
        (
            "min_slope = 0.8",
            "min_slope = 1.5",
            "gates.calibration: expected min_slope of at most max_slope",
        ),
        ("[fairness]", "fairness = 3\n[x]", "gates: 'x' is no key of it"),
        ("[hold_out]", "[hold_out", "gates: not TOML"),
    ],
)
def test_what_a_file_may_not_say_is_refused_by_its_key(
    there: str, instead: str, words: str, tmp_path: Path
) -> None:
    assert there in own_gates()
    file = tmp_path / "gates.toml"
    file.write_text(own_gates().replace(there, instead), "utf-8")
    with pytest.raises(GateError) as refusal:
        load_gates(file)
    assert str(refusal.value).startswith(f"{file}: {words}")
