"""Are the reasons true?  Stated reasons held against the causes that the simulation knows."""
