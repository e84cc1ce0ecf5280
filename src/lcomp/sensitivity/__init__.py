"""Which layers of a trained network bear compression: `scores.sensitivity`, and `python -m lcomp.sensitivity`."""
