"""Points of a sweep that learn at once: which can, and the training that each of their runs goes on from."""
