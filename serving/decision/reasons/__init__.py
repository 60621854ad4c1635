"""The reasons of a decision.

ranking         the principal reasons, from contributions, effects and rules
wording         a reason as a sentence, in both languages
effects         what each behaviour did to the log-odds
counterfactual  the last year replayed with one behaviour changed
levels          the reference population's behaviour, to which that year is changed
ledger_differences   how the lender's statements differ from the ledger
"""
