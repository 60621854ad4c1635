"""Do the stated reasons name the true causes?

true_causes          agreement with the causes that the simulator knows
rankings             the methods of explaining that are compared
effects              what each behaviour did to the log-odds, by the lender's ledger
counterfactual       the last year replayed with one behaviour changed
levels               the reference population's behaviour, to which that year is changed
ledger_differences   how the lender's statements differ from the ledger
mechanism            the same effects, by the simulator's mechanism
"""
