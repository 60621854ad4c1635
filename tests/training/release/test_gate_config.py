from __future__ import annotations

from pathlib import Path

import pytest

from serving.decision.config.strict_toml import ConfigError
from training.release.gate_config import load_gates, own_gates, read_gates


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
            "[calibration]: unknown key 'most_eces', did you mean 'max_ece'?",
        ),
        ("[fairness]", "[fairnes]", "missing key 'fairness'; is 'fairnes' a misspelling of it?"),
        (
            "min_auc = 0.65",
            "zzz = 1",
            "[discrimination]: unknown key 'zzz', expected ['max_auc_lost', 'min_auc']",
        ),
        ("max_ece = 0.03", "", "[calibration]: missing key 'max_ece'"),
        (
            "max_ece = 0.03",
            "max_ece = true",
            "[calibration] max_ece: expected a number from 0 to 1, got True",
        ),
        (
            "max_ece = 0.03",
            "max_ece = nan",
            "[calibration] max_ece: expected a number from 0 to 1, got nan",
        ),
        (
            "max_ece = 0.03",
            "max_ece = 2",
            "[calibration] max_ece: expected a number from 0 to 1, got 2",
        ),
        (
            "min_slope = 0.7",
            "min_slope = 1.5",
            "[calibration] min_slope: expected at most max_slope, 1.4, got 1.5",
        ),
        ("[fairness]", "fairness = 3\n[x]", "[stability]: unknown key 'fairness', expected ["),
        ("[hold_out]", "[hold_out", "expected TOML: "),
    ],
)
def test_what_a_file_may_not_say_is_refused_by_its_key(
    there: str, instead: str, words: str, tmp_path: Path
) -> None:
    assert there in own_gates()
    file = tmp_path / "gates.toml"
    file.write_text(own_gates().replace(there, instead), "utf-8")
    with pytest.raises(ConfigError) as refusal:
        load_gates(file)
    assert str(refusal.value).startswith(f"{file}: {words}")
