"""What a label means by a pair of words: the typical words of each family that it names."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from feature_tracker.rule_labels.lexicon import lexicon_path, load_typical_words
from feature_tracker.rule_labels.rules import rule_from_json


def label_families(rule_text: str, table: Path) -> dict[str, Sequence[str]]:
    """The typical words of each family that a rule names, by what its label calls the family.

    Args:
        rule_text: the column `rule` of a label table; empty where a label has no rule.
        table: the label table's path, beside which its lexicon lies.
    """
    words_of = _typical_words(table)
    if not rule_text or not words_of:
        return {}
    rule = rule_from_json(rule_text)
    mentions = [mention for mention in (*rule.like, *rule.unlike) if mention.where != "passage"]
    return {mention.shown or mention.name: words_of.get(mention.name, ()) for mention in mentions}


@lru_cache(maxsize=4)
def _typical_words(table: Path) -> dict[str, list[str]]:
    return load_typical_words(lexicon_path(table))
