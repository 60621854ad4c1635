"""Does the advice come true?  Plans in the simulator, by other models and by other rules."""
