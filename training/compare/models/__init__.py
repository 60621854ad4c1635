"""Two models on the same accounts: measures, calibration, decisions and value, each as a small
table.  Knows no MLflow.
"""
