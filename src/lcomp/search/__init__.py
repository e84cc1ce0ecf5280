"""Searches: what can be chosen for one, what a study samples, and the workers that carry its trials out."""
