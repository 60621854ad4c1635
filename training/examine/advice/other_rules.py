"""What promises rest on: the same accounts advised by other rules, and how many of the promises are
then kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from serving.decision.bundle import Bundle
from serving.decision.config.advice import AdviceRules
from training.examine.advice.follow import follow_plans
from training.examine.truth.cut_accounts import find_cut_accounts
from training.examine.truth.population import Population

_MARGINS = (0.0, 0.3, 0.6)


def rules_of(rules: AdviceRules) -> Mapping[str, AdviceRules]:
    """Name -> rules to compare: those served; less margin; and plans that need not go without cash
    and new credit.
    """
    free = {
        name: replace(lever, grid=(0.0, 1.0)) if name in ("no_cash", "no_new_credit") else lever
        for name, lever in rules.levers.items()
    }
    found = {"as served": rules}
    found |= {
        f"margin {margin}": replace(rules, search=replace(rules.search, margin=margin))
        for margin in _MARGINS
    }
    found["cash and new credit left open"] = replace(rules, levers=free)
    both = replace(found["margin 0.0"], levers=free)
    return found | {"both, margin 0.0": both}


def under_other_rules(world: Population, bundle: Bundle) -> pl.DataFrame:
    """One row a set of rules: ``plans`` with a promise, ``months`` to it and ``effort`` on average,
    and the shares kept.

    ``exactly``: of followers who never pay more than they are told.  ``with_margin``: by the
    decision that the promise was made by, which has to be clear of the cut-off by the margin; a
    decision that is served need not be.
    """
    rows = []
    for name, rules in rules_of(bundle.advice).items():
        cut = find_cut_accounts(world, replace(bundle, advice=rules))
        followed = follow_plans(cut)
        promised = followed.promised > 0
        exact, clear = (
            follow_plans(cut, exactly=True),
            follow_plans(cut, margin=rules.search.margin),
        )
        kept, quiet = followed.kept[:, promised], ~followed.shocked[:, promised]
        efforts = [plan.effort for plan in cut.plans if plan.restored is not None]
        rows.append(
            {
                "rules": name,
                "plans": int(promised.sum()),
                "months": float(followed.promised[promised].mean()),
                "effort": sum(efforts) / len(efforts),
                "kept": float(kept.mean()),
                "kept_unshocked": float(kept[quiet].mean()),
                "exactly": float(exact.kept[:, promised].mean()),
                "with_margin": float(clear.kept[:, promised].mean()),
            }
        )
    return pl.DataFrame(rows)
