"""The tables, metrics and figures that a fit keeps with its run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from features.schema import PRODUCTS
from features.types import Rows
from serving.decision.bundle import Bundle
from serving.decision.policy.limit import cut_offs_of
from serving.decision.scoring.score import score
from training.data.config import DataConfig
from training.data.labels import Labelled
from training.data.observation import CENSORED
from training.data.outcome_counts import describe_censored, share_censored
from training.data.splits import SPLITS
from training.evaluate import figures
from training.evaluate.bootstrap import cluster
from training.evaluate.metrics import auc, brier_parts, calibration, discrimination, lift
from training.fit.fit import Fitted, last_rows, predict_log_odds

SHAP_ROWS = 1000  # accounts drawn in the SHAP figures


def fit_tables(fitted: Fitted) -> dict[str, pl.DataFrame]:
    """Return the tables of a run by name."""
    label, probability = fitted.label, fitted.probability
    clusters = cluster(fitted.account)
    gains = fitted.booster.feature_importance("gain")
    splits = fitted.booster.feature_importance("split")
    gain = pl.DataFrame(
        {
            "feature": fitted.features,
            "gain": gains,
            "splits": splits,
        }
    )
    numbers = range(1, len(fitted.fold_auc) + 1)
    folds = pl.DataFrame({"fold": numbers, "auc": fitted.fold_auc})
    return {
        "discrimination": discrimination(label, probability, clusters=clusters),
        "calibration": calibration(label, probability, clusters=clusters),
        "brier": brier_parts(label, probability),
        "lift": lift(label, probability, clusters=clusters),
        "gain": gain.sort("gain", descending=True),
        "folds": folds,
    }


def split_table(fitted: Fitted, data: Labelled) -> pl.DataFrame:
    """Return one row a split: rows, accounts, first and last as_of, label rate and AUC.

    An AUC that is far better on the training rows means that the trees have overfitted.  Then the
    rows that were left out because their outcome was not observed: ``censored``,
    ``share_censored`` (of all rows), and their number by reason and product, such as
    ``account_left_pay_later``.
    """
    predicted = predict_log_odds(fitted, data.features.matrix(fitted.features))
    table = data.features.accounts.select("account_id", "as_of").with_columns(
        split=pl.Series(data.split),
        label=pl.Series(data.label),
        log_odds=pl.Series(predicted),
    )
    splits = []
    for split in SPLITS:
        rows = table.filter(split=split)
        if rows.is_empty():
            continue
        months = rows["as_of"].sort().dt.strftime("%Y-%m")
        label = rows["label"].to_numpy()
        # Log-odds rank as probabilities do, and none of them is rounded to a tie at 1.
        split_auc = auc(label, rows["log_odds"].to_numpy())
        splits.append(
            {
                "split": split,
                "rows": rows.height,
                "accounts": rows["account_id"].n_unique(),
                "first_as_of": months[0],
                "last_as_of": months[-1],
                "label_rate": rows["label"].mean(),
                "auc": split_auc,
                **_count_censored(data.outcomes.filter(split=split)),
            }
        )
    return pl.DataFrame(splits)


def _count_censored(outcomes: pl.DataFrame) -> dict[str, float]:
    """Return the columns of a split's row on censored rows; ``outcomes`` are those of the split."""
    counts = {}
    for reason in CENSORED:
        for product in PRODUCTS:
            rows = outcomes.filter(outcome=reason, product=product)["rows"]
            counts[f"{reason}_{product}"] = int(rows.sum())
    return {
        "censored": sum(counts.values()),
        "share_censored": share_censored(outcomes),
        **counts,
    }


def describe_left_out(
    data: Labelled,
    config: DataConfig,
    unknown_labels: int,
) -> tuple[str, ...]:
    """Return a sentence for each split with censored rows, and one on labels without statements.

    ``unknown_labels`` is the number of the latter.
    """
    sentences = []
    for split in SPLITS:
        outcomes = data.outcomes.filter(split=split)
        share = share_censored(outcomes)
        if share == 0.0:
            continue
        # Test rows have no weights.
        is_weighted = config.unobserved == "weight" and split != "test"
        how = "represented by weights" if is_weighted else "left out"
        sentences.append(
            f"{split}: the outcome of {share:.1%} of {outcomes['rows'].sum():,} rows was not "
            f"observed, {how}: {describe_censored(outcomes)}"
        )
    if unknown_labels:
        sentences.append(
            f"{unknown_labels:,} labels left out: their account has no statement of the month"
        )
    return tuple(sentences)


def fit_metrics(fitted: Fitted, discrimination: pl.DataFrame) -> dict[str, float]:
    """Return the metrics of a run by name."""
    metrics = {
        "trees": float(fitted.booster.num_trees()),
        "label_rate": float(fitted.label.mean()),
    }
    for row in discrimination.iter_rows(named=True):
        name = row["measure"]
        metrics[name] = row["value"]
        # Of too few defaults the interval is unknown, and MLflow has no metric that is.
        if row["low"] is not None:
            metrics[f"{name}_low"] = row["low"]
            metrics[f"{name}_high"] = row["high"]
    if fitted.fold_auc:
        metrics["fold_auc_mean"] = float(np.mean(fitted.fold_auc))
        metrics["fold_auc_sd"] = float(np.std(fitted.fold_auc, ddof=1))
    return metrics


def fit_figures(
    fitted: Fitted,
    data: Labelled,
    tables: Mapping[str, pl.DataFrame],
    served: Bundle,
) -> dict[str, Figure]:
    """Return the figures of a run by name."""
    label, probability = fitted.label, fitted.probability
    gains = tables["gain"].select("feature", "gain").iter_rows()
    drawn = {
        "roc": figures.roc(label, probability, auc(label, probability)),
        "precision_recall": figures.precision_recall(label, probability),
        "calibration": figures.calibration(tables["calibration"]),
        "scores": figures.scores(label, probability, served.policy.cut_offs(served.comparisons)),
        "lift": figures.lift(tables["lift"]),
        "gain": figures.gain(dict(gains)),
    }
    return drawn | _figures_of_contributions(fitted.held_out, data, served)


def _figures_of_contributions(
    held_out: Rows,
    data: Labelled,
    served: Bundle,
) -> dict[str, Figure]:
    """Return ``shap``'s figures of the served contributions, the waterfall of a cut account.

    Each account is measured against the reference population of its product.
    """
    # A fixed seed: the same fit draws the same figures.
    accounts = last_rows(data, held_out)
    shuffled = np.random.default_rng(0).permutation(accounts)
    drawn = shuffled[:SHAP_ROWS]
    features = data.features
    matrix = features.matrix(served.features)[drawn]
    products = features.accounts["product"][drawn].cast(pl.String).to_list()
    scores = score(matrix, products, served.scorer)
    by_risk = np.argsort(scores.log_odds, kind="stable")
    is_cut = scores.probability > cut_offs_of(products, served.policy)
    count = int(is_cut.sum())
    # The median of the cut accounts; the riskiest account if none is cut.
    riskiest = len(by_risk) - 1
    example = int(by_risk[riskiest - count // 2])
    return figures.contributions(
        scores.contributions,
        scores.base_log_odds,
        matrix,
        served.features,
        example,
    )
