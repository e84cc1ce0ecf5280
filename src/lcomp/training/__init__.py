"""One fit of a network, and what it starts from: data, baselines, chains of teachers."""
