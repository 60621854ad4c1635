"""The search for the smallest model that is as good as the best; start at ``tune``."""
