"""One fit.

run                    the whole flow of ``python -m training fit``
fit, calibration       LightGBM and Platt
reference_population   the accounts that contributions are measured against
bundle                 the folder that is served
tables, provenance     tables, figures and tags of the run
reproduce              the same run again
"""
