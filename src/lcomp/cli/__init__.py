"""The command line: its shorthand, its messages, what Hydra calls for each run, what a sweep's end leaves."""
