"""What constrains the network while it learns: one file per technique, one YAML beside it."""
