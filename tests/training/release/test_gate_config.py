from __future__ import annotations

from pathlib import Path

import pytest

from training.release.gate_config import GateError, load_gates, own_gates, read_gates


def test_the_project_s_own_gates_are_read() -> None:
    gates = load_gates()
    assert gates.fairness.least_impact_ratio == 0.8
    assert gates == read_gates(own_gates())


@pytest.mark.parametrize(
    ("there", "instead", "words"),
    [
        ("most_ece", "most_eces", "gates.calibration: 'most_eces' is no key of it, did you mean 'most_ece'?"),
        ("[fairness]", "[fairnes]", "gates: 'fairnes' is no key of it, did you mean 'fairness'?"),
        (
            "least_auc = 0.65",
            "zzz = 1",
            "gates.discrimination: 'zzz' is no key of it, there are ['least_auc', 'most_auc_lost']",
        ),
        ("most_ece = 0.02", "", "gates.calibration: missing ['most_ece']"),
        ("most_ece = 0.02", "most_ece = true", "gates.calibration.most_ece: expected a number of at least 0, got True"),
        ("most_ece = 0.02", "most_ece = nan", "gates.calibration.most_ece: expected a number of at least 0, got nan"),
        ("most_ece = 0.02", "most_ece = 2", "gates.calibration.most_ece: expected at most 1, got 2"),
        ("least_slope = 0.8", "least_slope = 1.5", "gates.calibration: expected least_slope of at most most_slope"),
        ("[fairness]", "fairness = 3\n[x]", "gates: 'x' is no key of it"),
        ("[hold_out]", "[hold_out", "gates: not TOML"),
    ],
)
def test_what_a_file_may_not_say_is_refused_by_its_key(there: str, instead: str, words: str, tmp_path: Path) -> None:
    assert there in own_gates()
    file = tmp_path / "gates.toml"
    file.write_text(own_gates().replace(there, instead), "utf-8")
    with pytest.raises(GateError) as refusal:
        load_gates(file)
    assert str(refusal.value).startswith(f"{file}: {words}")
