"""The views, one file per tab; `show` draws each."""
