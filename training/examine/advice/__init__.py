"""Does the advice come true?  Plans followed in the simulation, and under other models and rules."""
