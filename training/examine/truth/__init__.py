"""What the simulation knows: true probabilities, causes and futures of accounts."""
