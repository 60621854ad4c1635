"""What a default loses and what a limit earns, learnt from the training rows."""
