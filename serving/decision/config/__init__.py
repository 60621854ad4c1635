"""What a lender edits: ``policy.toml``, ``reasons.toml`` and ``advice.toml``, each with its strict
reader.
"""
