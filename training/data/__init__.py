"""Data folders to labelled frames.

simulate    synthetic accounts whose true causes are known
ingest      foreign CSV files, by a mapping file
dataset     reads a data folder
labels      what was known of an account, and what became of it
splits      accounts to training, validation, test and folds
censoring   accounts that were cut before their outcome was known
"""
