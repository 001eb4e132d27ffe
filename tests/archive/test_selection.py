from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest

from feature_tracker.archive.selection import choose_documents, read_dates, units_of
from feature_tracker.errors import TrackerError

DOCUMENTS = pd.DataFrame(
    {
        "name": ["Acme 10-K", "Acme [draft]", "Bolt 10-Q", "Bolt 10-K"],
        "date": [date(2022, 12, 31), date(2023, 5, 1), None, date(2024, 2, 29)],
        "group": ["banks", "banks", "retail", None],
    }
)


@pytest.mark.parametrize(
    ("conditions", "chosen"),
    [
        (["group=banks"], [0, 1]),
        (["group=banks|retail"], [0, 1, 2]),
        (["name=*10-K"], [0, 3]),
        (["name=Acme [draft]"], [1]),  # a name with brackets, which would be a set of letters
        (["name=Bolt*", "date=2024"], [3]),
        (["date=2022"], [0]),
        (["date=2023Q2"], [1]),
        (["date=2023-05-01"], [1]),
        (["date=2024-02"], [3]),
        (["date=..2023"], [0, 1]),
        (["date=2023.."], [1, 3]),
        (["date=2022-12..2023-05"], [0, 1]),
    ],
)
def test_documents_are_chosen_by_group_name_and_date(conditions: list[str], chosen: list[int]) -> None:
    assert np.flatnonzero(choose_documents(DOCUMENTS, conditions)).tolist() == chosen


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("banks", "Write group="),
        ("colour=red", "Write group="),
        ("group=insurers", "The archive has banks, retail"),
        ("name=Zeta*", "The archive has Acme 10-K"),
        ("date=1999", "go from 2022-12-31 to 2024-02-29"),
        ("date=2023-13", "no date"),
        ("date=23", "no date"),
        ("date=..", "no date"),
        ("date=0001", "go from 2022-12-31"),
        ("date=9999", "go from 2022-12-31"),
        ("date=May", "no date"),
        ("date=2024..2023", "ends before it begins"),
    ],
)
def test_what_chooses_nothing_is_refused_with_what_there_is(condition: str, message: str) -> None:
    with pytest.raises(TrackerError, match=message):
        choose_documents(DOCUMENTS, [condition])


def test_conditions_that_no_document_meets_at_once_are_refused() -> None:
    with pytest.raises(TrackerError, match="at once"):
        choose_documents(DOCUMENTS, ["group=banks", "name=Bolt*"])


def test_a_group_that_no_document_has_is_told_as_such() -> None:
    with pytest.raises(TrackerError, match="No document of this archive has a group"):
        choose_documents(DOCUMENTS.assign(group=None), ["group=banks"])


def test_the_last_day_of_a_period_is_in_it() -> None:
    assert read_dates("2024-02").last.date() == date(2024, 2, 29)


def test_units_are_what_names_agree_in() -> None:
    assert units_of(DOCUMENTS, r"^(\w+) ").tolist() == [0, 0, 1, 1]
    assert units_of(DOCUMENTS, r"^\w+").tolist() == [0, 0, 1, 1]
    assert units_of(DOCUMENTS, None).tolist() == [0, 1, 2, 3]


def test_a_name_without_the_pattern_is_a_unit_of_its_own() -> None:
    assert len(set(units_of(DOCUMENTS, "(Acme)"))) == 3


@pytest.mark.parametrize(("pattern", "message"), [("(", "no regular expression"), ("Zeta", "No document's name")])
def test_a_pattern_that_tells_no_units_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(TrackerError, match=message):
        units_of(DOCUMENTS, pattern)
