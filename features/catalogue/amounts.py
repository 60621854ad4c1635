"""Amounts that only sentences need: what a customer thinks of where a feature is a share.

They are computed for the accounts that get reasons, and the model never sees them.
"""

from __future__ import annotations

from features.catalogue.feature import Feature

# Direction 0 and no group, as the facts of the catalogue have them.
AMOUNTS: tuple[Feature, ...] = ()
