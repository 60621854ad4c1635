"""Why.

ranking         contributions to principal reasons
wording         a reason as a sentence, in both languages
effects         what a behaviour did to the log-odds
counterfactual  the last year replayed with one behaviour changed
"""
