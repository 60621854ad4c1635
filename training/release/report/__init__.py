"""The report on one model: what a validator is handed.  Each section looks at one thing; the page
puts them together.

Nothing is computed here that is not measured elsewhere: sections ask the rooms that measure, and
say what it means.
"""
