"""The one exception that is meant for the person at the screen."""


class TrackerError(Exception):
    """Something the reader can mend.

    The message is shown as it stands: it names what was expected, what was found and what to do.
    """
