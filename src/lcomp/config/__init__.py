"""The configuration: composing it, building what it names, and what makes two of them the same."""
