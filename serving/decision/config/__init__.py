"""The files that a lender edits, each with its strict reader.

policy       policy.toml: the numbers and rules that decide
reasons      reasons.toml: the texts of reasons and notices
advice       advice.toml: the levers of a plan and their texts
strict_toml  the one TOML reader, which refuses unknown keys
"""
