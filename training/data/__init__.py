"""Data folders to labelled frames.

simulate    synthetic accounts whose true causes are known
ingest      foreign CSV files, by a mapping file
dataset     read a data folder
labels      what was known, and what became of the account
splits      accounts to train, validation, test and folds
censoring   accounts that were cut before their outcome was known
"""
