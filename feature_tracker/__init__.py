"""Which features of a language model fire on a financial text, on which words, and how they hang together."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - a script started with an older Python should say so, not fail on syntax
    sys.exit("Python 3.11 or newer is needed; this is Python %d.%d." % sys.version_info[:2])  # noqa: UP031

__version__ = "0.2.0"
