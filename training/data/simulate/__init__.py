"""Synthetic accounts whose true causes are known: a structural model of customers and their lender,
month by month.

    traits -> shocks -> limit -> acts -> ledger -> statement

``config`` sets size, calendar and the lender; ``draws`` gives random numbers keyed by (seed,
future, month, event, account); ``people`` makes the accounts; ``month`` runs one month through
``shocks``, ``lender`` and ``behaviour``; ``state`` is what is carried to the next month and its
file; ``output`` makes tables and folders of it.
"""

from training.data.simulate.config import SimulationConfig, calendar_month, month_number_of
from training.data.simulate.output import Block, simulate, write
from training.data.simulate.state import State
from training.data.simulate.step import begin, step

__all__ = [
    "Block",
    "SimulationConfig",
    "State",
    "begin",
    "calendar_month",
    "month_number_of",
    "simulate",
    "step",
    "write",
]
