from __future__ import annotations

import pandas as pd
import pytest

from feature_tracker.labels.csv_files import guard, unguard
from feature_tracker.labels.importers.cleaning import clean_label


@pytest.mark.parametrize(
    ("original", "shown", "changes"),
    [
        ("Terms of loans and credit.", "Terms of loans and credit.", ()),
        ("Prices of oil.\n\nExample 2: [EXPLANATION]: Ships.\n\nNote: none.", "Prices of oil.", ("prompt text",)),
        ("Prices of oil.\n2. Example 2: [EXPLANATION]: Ships.", "Prices of oil.", ("prompt text",)),
        ("Prices of oil.\\n\\nExample 2: Ships.", "Prices of oil.", ("escapes", "prompt text")),
        ("Prices. [EXPLANATION]: Ships.", "Prices.", ("prompt text",)),
        ("[EXPLANATION]: Prices of oil", "Prices of oil", ("prompt text",)),
        ("**Explanation:** Prices of oil", "Prices of oil", ("prompt text",)),
        ("Classes of assets Explanation This label captures", "Classes of assets", ("prompt text",)),
        ("Swings of currencies This label captures", "Swings of currencies", ("prompt text",)),
        ("Rises in rates. They follow inflation.", "Rises in rates.", ("further sentences",)),
        ("U.S. Treasury yields and bills", "U.S. Treasury yields and bills", ()),
        ("Growth vs. Value shares of Apple Inc. Products", "Growth vs. Value shares of Apple Inc. Products", ()),
        ("1. Prices of oil. 2. Ships.", "1. Prices of oil.", ("further sentences",)),
        ("Rates, e.g. Libor", "Rates, e.g. Libor", ()),
        ('Words such as \\"the\\" and \\"of', 'Words such as "the" and "of', ("escapes",)),
        ('Words such as \\"the\\" and \\"of\\', 'Words such as "the" and "of"', ("escapes",)),
        ("Ends in a stroke\\", "Ends in a stroke", ("escapes",)),
        ('The word ""bank"" alone', 'The word "bank" alone', ("doubled quotes",)),
        ('"A label in quotes"', "A label in quotes", ("doubled quotes",)),
        ('"buy" and "sell"', '"buy" and "sell"', ()),
        ("Prices  of\toil", "Prices of oil", ("white space",)),
        ("FUTURE TRENDS OR OUTCOMES", "FUTURE TRENDS OR OUTCOMES", ()),
        ("cut in the mid", "cut in the mid", ()),
        ("特定年份的时间标记", "特定年份的时间标记", ()),
        (" \n", "", ()),
        ("[EXPLANATION]:", "", ("prompt text",)),
    ],
)
def test_a_label_is_cut_and_never_added_to(original: str, shown: str, changes: tuple[str, ...]) -> None:
    assert clean_label(original) == (shown, changes)


def test_a_clean_label_stays_as_it_is() -> None:
    for text in ("a", "Net 5.4% to $1,234", 'the "bid" price', "x.y.z", "What?", "e.g."):
        once = clean_label(text).text
        assert once == text
        assert clean_label(once).changes == ()


@pytest.mark.parametrize(
    "text", ["=1+1", "+A1", "-2", "@SUM(A1)", "  =HYPERLINK(1)", "'=1", "''=1", "plain", "'", "- x"]
)
def test_a_formula_is_guarded_and_comes_back(text: str) -> None:
    guarded = guard(pd.Series([text]))
    assert not guarded.str.match(r"\s*[=+\-@]\S").any()
    assert unguard(guarded).tolist() == [text]
