"""The command line: its shorthand, words from Python, messages, what Hydra calls for each run, what ends a sweep."""
