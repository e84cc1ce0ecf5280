"""The command line: its shorthand, words from Python, its messages, what Hydra calls for each run, what a sweep's end leaves."""
