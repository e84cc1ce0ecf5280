"""What an artifact does, how large it is, and both compared to its baseline."""
