"""Data folders to labelled frames.

simulate    synthetic accounts whose true causes are known
ingest      foreign CSV files, by a mapping file
dataset     reads a data folder
labels      features of accounts at a date, and their outcome after it
splits      accounts to training, validation, test and folds
censoring   accounts that were cut before their outcome was known
"""
