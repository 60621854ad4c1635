"""The numbers of the model card are there in the commands, which load LightGBM without pandas."""

from __future__ import annotations

import lightgbm as lgb
import pytest

from tests.golden.remake import BUNDLE
from training.release.report.model_card import count_leaves


def test_leaves_are_counted_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    booster = lgb.Booster(model_file=BUNDLE / "model.txt")
    # A leaf is a node without children.
    expected = int(booster.trees_to_dataframe()["left_child"].isna().sum())
    monkeypatch.setattr("lightgbm.basic.PANDAS_INSTALLED", False)
    with pytest.raises(lgb.basic.LightGBMError, match="without pandas"):
        booster.trees_to_dataframe()  # the control
    assert count_leaves(booster) == expected
