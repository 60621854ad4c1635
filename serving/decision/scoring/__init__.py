"""Log-odds and exact contributions.

score            the model's log-odds, probability and contributions
single_row       LightGBM's prediction of one row in less time
shapley          exact interventional Shapley values of tree ensembles
shapley_tables   the tables that are built once per reference population
leaf_table       the leaves of a model as arrays, to compare two rows
leaf_values      the raw log-odds of many rows in less time
kernels          the compiled loops
lightgbm_trees   LightGBM's text model, read and checked
lightgbm_import  LightGBM without the libraries that are not used
"""
