"""Errors that are the user's to mend: the command line prints the one line and exits with 2."""


class UserError(Exception):
    """One line that says what was wanted, what came, and the next command to run."""
