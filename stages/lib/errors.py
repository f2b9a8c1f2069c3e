"""The one kind of error that a person can do something about."""


class RunError(Exception):
    """Shown as one line, without a traceback: it names the file or key, what was found, and what is allowed or what to do."""
