"""The one exception for what the user can mend."""


class UserError(Exception):
    """Bad input: the message names the key or file, what was seen, what is allowed and what to do next."""
