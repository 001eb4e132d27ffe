"""Rules of alerts in a TOML file, and what a nightly job remembers from one run to the next.

An archive only grows, and its documents keep their numbers. So a state file that says how many documents were looked at
is enough to alert of each document once. A new rule is asked of new documents alone; to ask it of all, leave the state
out.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.conditions import Condition, parse_condition
from feature_tracker.errors import TrackerError
from feature_tracker.files import read_json, replacing

_MOST_BYTES = 1_000_000


class Rule(NamedTuple):
    """A condition with a name.

    Attributes:
        name: unique among the rules.
        text: the condition as it was written.
        condition: the same, parsed.
    """

    name: str
    text: str
    condition: Condition


def read_rules(path: Path) -> list[Rule]:
    """Read rules from a TOML file: the table `[rules]` with a condition in quotes by name.

    Raises:
        TrackerError: it can't be read, has anything else, no rule, or one whose condition can't be read.
    """
    try:
        raw = path.read_bytes()[: _MOST_BYTES + 1]
        if len(raw) > _MOST_BYTES:
            raise TrackerError(f"{path} is larger than {_MOST_BYTES:,} bytes, so it is no file of rules.")
        file: dict[str, Any] = tomllib.loads(raw.decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise TrackerError(f"{path} can't be read as TOML ({error}).") from None
    rules = file.pop("rules", None)
    if file or not isinstance(rules, dict) or not rules:
        raise TrackerError(
            f"{path} must have a table [rules] and nothing else, with lines such as\n"
            '"Deposits" = \'L16/F283 > 3 AND NOT "dividends" > 2\''
        )
    return [_rule(name, text, path) for name, text in rules.items()]


def _rule(name: str, text: object, path: Path) -> Rule:
    if not isinstance(text, str):
        raise TrackerError(f"{path}, rule {name!r}: a condition is text in quotes; found {text!r}.")
    try:
        return Rule(name, text, parse_condition(text))
    except TrackerError as error:
        raise TrackerError(f"{path}, rule {name!r}: {error}") from None


def read_state(path: Path, archive: Archive) -> int:
    """How many documents a state file says were looked at; 0 where there is no file yet.

    Raises:
        TrackerError: it is no state file, or one of another archive.
    """
    if not path.exists():
        return 0
    record = read_json(path)
    names = archive.documents["name"]
    try:
        n_documents, last = int(record["documents"]), record["last"]
    except (KeyError, TypeError, ValueError):
        raise TrackerError(f"{path} is no state file of alerts. Name another, or delete it to start anew.") from None
    if n_documents < 0 or n_documents > len(names) or (n_documents and names.iloc[n_documents - 1] != last):
        raise TrackerError(
            f"{path} belongs to another archive: it says that {n_documents:,} documents were looked at, the last of "
            f"them {last}, and {archive.folder} doesn't have these. Name another state file, or delete it to look at "
            "all."
        )
    return n_documents


def save_state(path: Path, archive: Archive) -> None:
    """Note that all documents of an archive, as it was opened, were looked at."""
    names = archive.documents["name"]
    record = {"documents": len(names), "last": names.iloc[-1] if len(names) else ""}
    with replacing(path) as beside:
        beside.write_text(json.dumps(record), encoding="utf-8")
