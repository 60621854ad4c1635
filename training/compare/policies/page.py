"""The policy lab's findings as a page of Markdown."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from features.schema import PRODUCTS
from training.compare.policies.frontier import Point
from training.evaluate.text_tables import markdown

SHOWN = (
    "point",
    "harm",
    "depth",
    *(f"cut_off_{product}" for product in PRODUCTS),
    "accounts_cut",
    "good_cut",
    "good_cut_low",
    "good_cut_high",
    "loss_avoided",
    "loss_avoided_share",
    "realised_loss_avoided",
    "good_limit_cut",
)

_HEAD = """# What policy could do

{name}, bundle `{bundle}`, on the {accounts:,} accounts of {as_of} that its fit held out. Amounts
are in CNY, intervals of 95 %. A good customer has label 0; cut means that the limit is reduced or
suspended, or that this is proposed to a reviewer.
{notes}
## Points

Hard rules alone cut {rules:.2%} of the good customers. `served` is policy.toml as it stands; of
{points:,} points `best` avoids the most expected loss among those that cut at most {most:.2%} of
them. Its parameters in policy.toml:

```toml
{toml}
```

"""
_ORACLE = """## Comparison with an oracle

The same policy decided by the true probability (`oracle`): see
[the policy lab](policy_lab.md#comparison-with-an-oracle).

"""
_CAP = """## A cap at {multiple:g} monthly incomes from {month}

By product and by the limit in monthly incomes; `limit` and `reduction` in CNY beyond what is
decided today.

"""


def points(table: pl.DataFrame, best: Point) -> pl.DataFrame:
    """Return the two points to choose between: as served, and the best under the constraint."""
    operating = table.filter("operating").row(0, named=True)
    rows = [{"point": "served", **operating}, {"point": "best", **best}]
    return pl.DataFrame(rows).select(SHOWN)


def page(
    fields: Mapping[str, object],
    chosen: pl.DataFrame,
    oracle: pl.DataFrame | None,
    cap: pl.DataFrame | None,
) -> str:
    """Return the page; ``fields`` fill the templates, ``chosen`` is the table of :func:`points`."""
    parts = [
        _HEAD.format(**fields),
        markdown(chosen),
        "\n![The frontier](figures/policy_frontier.png)\n",
    ]
    if oracle is not None:
        parts += ["\n", _ORACLE, markdown(oracle)]
    if cap is not None:
        parts += ["\n", _CAP.format(**fields), markdown(cap)]
    return "".join(parts)
