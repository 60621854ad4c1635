"""Synthetic accounts whose true causes are known: customers and their lender, month by month.

    traits -> shocks -> limit -> acts -> ledger -> statement

config      size, calendar and policy
draws       random numbers keyed by (seed, future, month, event, account)
population  traits, and the state at the start
shocks, lender, behaviour   the events of a month, by cause
step        one month of a block of accounts
state       everything that is carried to the next month
output      tables and folders
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
