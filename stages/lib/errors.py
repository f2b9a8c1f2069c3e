"""The one kind of error that a person can do something about."""


class RunError(Exception):
    """An error that is shown as one line, without a traceback: it names the file or key, its value, and what is allowed or what to do."""
