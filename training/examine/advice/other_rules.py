"""What promises rest on: the same accounts advised by other rules, and the promises then kept."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from serving.decision.bundle import Bundle
from serving.decision.config.advice import AdviceRules
from training.examine.advice.follow import Conduct, follow_plans
from training.examine.truth.cut_accounts import CutAccounts, find_cut_accounts
from training.examine.truth.population import Population

_MARGINS = (0.0, 0.3, 0.6)
# Until the limit is back, in one future: only the rules of advice differ.
_ONCE = Conduct(futures=1, months_after=0)


def vary_rules(rules: AdviceRules) -> dict[str, AdviceRules]:
    """Return the rules to compare: as served, with less margin, and with optional abstinence.

    In the last, plans need not go without cash and new credit.
    """
    optional = dict(rules.levers)
    for name in ("no_cash", "no_new_credit"):
        optional[name] = replace(optional[name], grid=(0.0, 1.0))
    variants = {"as served": rules}
    for margin in _MARGINS:
        search = replace(rules.search, margin=margin)
        variants[f"margin {margin}"] = replace(rules, search=search)
    variants["cash and new credit left open"] = replace(rules, levers=optional)
    variants["both, margin 0.0"] = replace(variants["margin 0.0"], levers=optional)
    return variants


def advise_by_other_rules(population: Population, bundle: Bundle) -> pl.DataFrame:
    """Return one row for each set of rules.

    Columns: ``rules``; ``plans`` with a promise; ``months`` to it and ``effort``, on average; and
    shares of promises kept, in one future:

    - ``kept``, ``kept_unshocked``: as :func:`training.examine.advice.tables.validity`
    - ``exactly``: by customers who never pay more than the plan states
    """
    rows = []
    for name, rules in vary_rules(bundle.advice).items():
        # The same decisions, and so the same accounts: only their advice differs.
        cohort = find_cut_accounts(population, replace(bundle, advice=rules))
        rows.append(_row(name, cohort))
    return pl.DataFrame(rows)


def _row(name: str, cohort: CutAccounts) -> dict[str, object]:
    followed = follow_plans(cohort, _ONCE)
    exactly = follow_plans(cohort, replace(_ONCE, exactly=True))
    promised = followed.asked
    of = promised & ~followed.closed
    quiet = of & ~followed.shocked
    # Plans without a promise cost effort too, but for nothing: they are no price of a promise.
    efforts = [plan.effort for plan in cohort.plans if plan.restored is not None]
    return {
        "rules": name,
        "plans": int(promised.sum()),
        "months": float(followed.promised[promised].mean()),
        "effort": sum(efforts) / len(efforts),
        "kept": float(followed.kept[of].mean()),
        "kept_unshocked": float(followed.kept[quiet].mean()),
        "exactly": float(exactly.kept[promised & ~exactly.closed].mean()),
    }
