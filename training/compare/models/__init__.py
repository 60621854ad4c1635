"""Models compared on the same accounts: measures, calibration, decisions and value as tables."""
