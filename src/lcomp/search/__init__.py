"""Searches: what a study samples, and the workers that carry its trials out."""
