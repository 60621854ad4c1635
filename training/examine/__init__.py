"""Examination of a served model on accounts that no model saw: reasons, advice, ceiling, censoring.

Everything here uses the simulator, which knows the true causes, and nothing is served::

    truth/             population -> cohort of cut accounts; futures, counterfactual pasts
    advice/            follow -> tables; other_models, other_rules, actionability
    reasons/           rankings, mechanism -> true_causes
    auc_ceiling        the best AUC that any model could have
    censoring_study    how to handle accounts that the lender cut within the outcome window
    run, page, figures the command, its page and its figures
"""
