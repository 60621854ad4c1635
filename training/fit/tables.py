"""The tables, metrics and figures that a fit keeps with its run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from numpy.typing import NDArray

from serving.decision.bundle import Bundle
from serving.decision.scoring.score import score
from training.data.labels import Labelled
from training.evaluate import figures
from training.evaluate.metrics import auc, brier_parts, calibration, discrimination, lift
from training.fit.fit import Fitted, predict_log_odds

SHAP_ROWS = 1000  # accounts drawn in the SHAP figures


def fit_tables(fitted: Fitted) -> dict[str, pl.DataFrame]:
    """The tables of a run by name."""
    label, probability = fitted.label, fitted.probability
    gains = fitted.booster.feature_importance("gain")
    splits = fitted.booster.feature_importance("split")
    return {
        "discrimination": discrimination(label, probability),
        "calibration": calibration(label, probability),
        "brier": brier_parts(label, probability),
        "lift": lift(label, probability),
        "gain": pl.DataFrame({"feature": fitted.features, "gain": gains, "splits": splits}).sort(
            "gain", descending=True
        ),
        "folds": pl.DataFrame({"fold": range(1, len(fitted.fold_auc) + 1), "auc": fitted.fold_auc}),
    }


def split_table(fitted: Fitted, data: Labelled) -> pl.DataFrame:
    """What each split holds, and the AUC on it: far better on what trees were fitted on, they have
    learnt it by heart.
    """
    predicted = predict_log_odds(fitted, data.features.matrix(fitted.features))
    table = data.features.accounts.select("account_id", "as_of").with_columns(
        split=pl.Series(data.split), label=pl.Series(data.label), log_odds=pl.Series(predicted)
    )
    found = []
    for split in ("train", "valid", "test"):
        rows = table.filter(split=split)
        if rows.is_empty():
            continue
        months = rows["as_of"].sort().dt.strftime("%Y-%m")
        found.append(
            {
                "split": split,
                "rows": rows.height,
                "accounts": rows["account_id"].n_unique(),
                "first_as_of": months[0],
                "last_as_of": months[-1],
                "label_rate": rows["label"].mean(),
                "auc": auc(rows["label"].to_numpy(), rows["log_odds"].to_numpy()),
            }
        )
    return pl.DataFrame(found)


def fit_metrics(fitted: Fitted, discrimination: pl.DataFrame) -> dict[str, float]:
    """The metrics of a run by name."""
    metrics = {"trees": float(fitted.booster.num_trees()), "label_rate": float(fitted.label.mean())}
    for row in discrimination.iter_rows(named=True):
        metrics |= {
            f"{row['measure']}{suffix}": row[key]
            for key, suffix in (("value", ""), ("low", "_low"), ("high", "_high"))
        }
    if fitted.fold_auc:
        metrics |= {
            "fold_auc_mean": float(np.mean(fitted.fold_auc)),
            "fold_auc_sd": float(np.std(fitted.fold_auc, ddof=1)),
        }
    return metrics


def fit_figures(
    fitted: Fitted, data: Labelled, tables: Mapping[str, pl.DataFrame], served: Bundle
) -> dict[str, Figure]:
    """The figures of a run by name."""
    label, probability = fitted.label, fitted.probability
    return {
        "roc": figures.roc(label, probability, auc(label, probability)),
        "precision_recall": figures.precision_recall(label, probability),
        "calibration": figures.calibration(tables["calibration"]),
        "scores": figures.scores(label, probability, served.policy.cut_off),
        "lift": figures.lift(tables["lift"]),
        "gain": figures.gain(dict(tables["gain"].select("feature", "gain").iter_rows())),
    } | _figures_of_contributions(fitted.held_out, data, served)


def _figures_of_contributions(
    held_out: NDArray[np.int64], data: Labelled, served: Bundle
) -> dict[str, Figure]:
    """``shap``'s figures of what is served, each account against its product's reference; the
    waterfall is of a cut one.
    """
    drawn = np.random.default_rng(0).permutation(held_out)[:SHAP_ROWS]
    matrix = data.features.matrix(served.features)[drawn]
    scores = score(
        matrix, data.features.accounts["product"][drawn].cast(pl.String).to_list(), served.scorer
    )
    by_risk = np.argsort(scores.log_odds, kind="stable")
    cut = int((scores.probability > served.policy.cut_off).sum())
    # the middle one of the cut; the riskiest where none is
    example = int(by_risk[len(by_risk) - 1 - cut // 2])
    return figures.contributions(
        scores.contributions, scores.base_log_odds, matrix, served.features, example
    )
