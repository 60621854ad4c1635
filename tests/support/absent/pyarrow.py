"""In the place of a training library, see tests/support/served.py: importing it fails."""

raise ModuleNotFoundError(f"No module named {__name__!r}", name=__name__)
