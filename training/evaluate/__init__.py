"""Measures on accounts that the model never saw.

holdout, unseen_accounts, model_lookup   which accounts, which model
metrics, calibration, paired_tests       how good, how well calibrated, how sure the difference
drift, fairness                          whether it changed, on whom it falls
figures, text_tables                     pictures and tables
"""
