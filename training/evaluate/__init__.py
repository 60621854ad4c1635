"""Measures of models on accounts that they did not see.

holdout, unseen_accounts, model_lookup   select the accounts and the model
metrics, calibration, paired_tests       quality, calibration, differences of two models
bootstrap                                resamples and their intervals
drift, fairness                          changes over time, effects on groups
figures, text_tables                     figures and tables
"""
