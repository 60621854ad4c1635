"""How good the stated reasons are, measured on accounts that the model cuts.

- :mod:`~training.fit.reason_quality.stated`: the accounts and what is stated to them
- :mod:`~training.fit.reason_quality.deletion`: would the cut fall away without the reasons?
- :mod:`~training.fit.reason_quality.stability`: would another fit or statement give the same ones?
- :mod:`~training.fit.reason_quality.sentences`: does each sentence state a real difference?

Every fit measures them on its hold-out (:mod:`~training.fit.reason_quality.checks`), and
:mod:`training.examine` measures them on accounts that no model saw, with refits.
"""
