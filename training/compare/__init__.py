"""Comparisons: of models, of policies, and with other learners."""
