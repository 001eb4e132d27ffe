from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from feature_tracker.feature import Feature
from feature_tracker.labels.table import LabelTable
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.themes import Theme, _groups, find_themes, members_of
from tests.support import trace_of

TEXT = "The court heard the lawsuit . Banks made loans . Nothing else happened in the $5 town today ."
WORDS = TEXT.split(" ")


def saes(directions: dict[tuple[int, int], int]) -> dict[int, Sae]:
    """SAEs whose decoder rows are unit vectors: alike where two features have the same number."""
    made = {}
    for layer in (4, 16):
        decoder = torch.eye(40)[[10 * (layer == 16) + index for index in range(10)]]
        for (at, index), number in directions.items():
            if at == layer:
                decoder[index] = torch.eye(40)[30 + number]
        made[layer] = Sae(decoder, torch.zeros(10), decoder, torch.zeros(40), 5)
    return made


def rows(*features: tuple[int, int, str, float, float, float, str]) -> pd.DataFrame:
    """(layer, index, label, share of passages as high, rarity of the peak, F1, kind)"""
    columns = ["layer", "feature", "label", "chance_alone", "rarity", "f1", "kind"]
    return pd.DataFrame(features, columns=columns).assign(
        reliable=lambda rows: rows["f1"] > 2 / 3, specialization_index=0.0
    )


LAW = {"court": 3.0, "lawsuit": 5.0}
LENDING = {"loans": 4.0, "Banks": 2.0}
FIRES = {(4, 1): LAW, (16, 2): LAW, (16, 3): LENDING}
FIRED = rows(
    (4, 1, "'court'", 0.001, 20.0, 0.8, "word"),
    (16, 2, "Lawsuits", 0.002, np.nan, 0.8, "topic"),
    (16, 3, "Lending", np.nan, 5000.0, 0.7, "topic"),
)


@pytest.fixture
def themes() -> list[Theme]:
    return find_themes(trace_of(WORDS, FIRES), FIRED, saes({(4, 1): 1, (16, 2): 1}))


def test_features_of_all_layers_on_the_same_words_are_one_theme(themes: list[Theme]) -> None:
    assert [set(theme.features) for theme in themes] == [{Feature(16, 3)}, {Feature(4, 1), Feature(16, 2)}]


def test_a_theme_is_as_unusual_as_its_whole_or_its_peak(themes: list[Theme]) -> None:
    assert themes[0].one_in == pytest.approx((5000,))
    assert themes[1].one_in == pytest.approx((500, 1000))


def test_subjects_come_before_words_and_mixtures_that_are_as_unusual() -> None:
    fires = {(4, 1): {"court": 1.0}, (4, 2): {"town": 1.0}, (16, 3): {"loans": 1.0}}
    fired = rows(
        (4, 1, "a", 0.001, 1.0, 0.9, "mixture"),
        (4, 2, "b", 0.001, 1.0, 0.5, "topic"),
        (16, 3, "c", 0.001, 1.0, 0.9, ""),
    )
    assert [theme.label for theme in find_themes(trace_of(WORDS, fires), fired, saes({}))] == ["b", "c", "a"]


def test_features_of_the_texts_own_kind_come_before_those_of_the_other() -> None:
    fires = {(4, index): {word: 1.0} for index, word in enumerate(("court", "town", "loans"))}
    fired = rows(*((4, index, str(index), 0.001, 1.0, 0.8, "word") for index in range(3)))
    finance = find_themes(trace_of(WORDS, fires), fired.assign(specialization_index=[-0.8, 0.9, 0.7]), saes({}))
    general = find_themes(trace_of(WORDS, fires), fired.assign(specialization_index=[0.8, -0.9, -0.7]), saes({}))
    assert [theme.label for theme in finance] == [theme.label for theme in general] == ["1", "2", "0"]


def test_a_label_that_can_be_trusted_comes_before_one_that_can_not() -> None:
    fires = {(4, 1): {"court": 1.0}, (4, 2): {"town": 1.0}, (4, 3): {"loans": 1.0}}
    fired = rows(
        (4, 1, "guess", 0.001, 1.0, 0.3, "word"),
        (4, 2, "sure", 0.001, 1.0, 0.9, "word"),
        (4, 3, "unread", 0.001, 1.0, np.nan, ""),
    )
    assert [theme.label for theme in find_themes(trace_of(WORDS, fires), fired, saes({}))] == [
        "sure",
        "unread",
        "guess",
    ]


def test_of_two_kinds_alike_the_one_tied_to_a_subject_comes_first() -> None:
    fires = {(4, 1): {"court": 1.0}, (4, 2): {"town": 1.0}}
    fired = rows((4, 1, "a", 0.001, 1.0, 0.9, "word"), (4, 2, "b", 0.001, 1.0, 0.5, "word"))
    found = find_themes(trace_of(WORDS, fires), fired.assign(specialization_index=[np.nan, -0.9]), saes({}))
    assert [theme.label for theme in found] == ["b", "a"]


def test_a_theme_is_named_by_the_label_that_tells_it_best(themes: list[Theme]) -> None:
    assert themes[1].label == "Lawsuits"  # of equal F1, but a subject
    assert themes[1].features[0] == Feature(16, 2)
    assert (themes[1].kind, themes[1].f1) == ("topic", 0.8)


def test_a_theme_shows_its_words_and_sentences_strongest_first(themes: list[Theme]) -> None:
    text = trace_of(WORDS, FIRES).tokens.text
    assert themes[1].words == ("lawsuit", "court")
    assert [text[start:end] for start, end in themes[1].excerpts] == ["The court heard the lawsuit."]
    assert [WORDS[position] for position in np.flatnonzero(themes[0].activation)] == ["Banks", "loans"]
    assert themes[0].activation.max() == 1.0


def test_function_words_and_numbers_are_not_shown_as_a_themes_words() -> None:
    fires = {(4, 1): {"The": 5.0, "$5": 4.0, "town": 1.0}}
    (theme,) = find_themes(trace_of(WORDS, fires), FIRED[:1], saes({}))
    assert theme.words == ("town",)


def test_what_ordinary_text_does_as_often_is_no_theme() -> None:
    usual = rows((4, 1, "'court'", 0.2, 4.0, 0.8, "word"))
    assert find_themes(trace_of(WORDS, FIRES), usual, saes({})) == []
    assert find_themes(trace_of(WORDS, FIRES), usual[:0], saes({})) == []


def test_features_that_were_not_measured_are_in_no_theme() -> None:
    unmeasured = rows((4, 1, "'court'", np.nan, np.nan, 0.8, "word"))
    assert find_themes(trace_of(WORDS, FIRES), unmeasured, saes({})) == []


def test_a_theme_is_not_named_by_a_feature_that_is_far_less_unusual() -> None:
    fired = rows((4, 1, "'court'", 1e-6, 20.0, 0.6, "word"), (16, 2, "Legal", 0.04, np.nan, 0.9, "topic"))
    (theme,) = find_themes(trace_of(WORDS, FIRES), fired, saes({(4, 1): 1, (16, 2): 1}))
    assert theme.label == "'court'"


def test_an_unscored_label_names_a_theme_only_where_no_scored_one_is_good() -> None:
    fired = rows((4, 1, "unread", 0.001, 20.0, np.nan, ""), (16, 2, "Legal", 0.001, np.nan, 0.6, "word"))
    (theme,) = find_themes(trace_of(WORDS, FIRES), fired, saes({(4, 1): 1, (16, 2): 1}))
    assert theme.label == "Legal"


def test_the_members_of_themes_carry_their_own_labels(themes: list[Theme]) -> None:
    labels = pd.DataFrame({"label": ["law"], "f1": 0.5, "n_positive": 1, "n_negative": 1, "density": 0.1})
    labels.index = pd.MultiIndex.from_tuples([(16, 2)], names=["layer", "feature"])
    members = members_of(themes, LabelTable(labels))
    assert members["theme"].tolist() == [0, 1, 1]
    assert members["label"].tolist() == ["unlabelled", "law", "unlabelled"]
    assert members["theme_label"].tolist() == ["Lending", "Lawsuits", "Lawsuits"]


def test_a_feature_that_no_ordinary_passage_fires_as_much_has_a_finite_rarity() -> None:
    (theme,) = find_themes(trace_of(WORDS, FIRES), rows((4, 1, "'court'", 0.0, np.nan, 0.8, "word")), saes({}))
    assert theme.one_in == (1e6,)


def test_grouping_takes_no_memory_that_grows_with_the_square_of_the_text() -> None:
    words = 200_000
    profiles = np.zeros((3, words))
    profiles[:2, 100_000], profiles[2, 500] = 1.0, 1.0  # a table of all pairs of words would take 320 GB
    assert _groups(profiles, np.eye(3)).tolist() in ([1, 1, 2], [2, 2, 1])
