"""Results become lines and tables."""
