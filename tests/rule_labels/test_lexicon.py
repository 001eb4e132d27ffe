"""The lexicon finds planted families and topics, names them, and survives its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from feature_tracker.errors import TrackerError
from feature_tracker.rule_labels.factors import factorize
from feature_tracker.rule_labels.firings import Firings
from feature_tracker.rule_labels.lexicon import Lexicon, load_lexicon, load_typical_words, save_lexicon
from feature_tracker.rule_labels.make_lexicon import LexiconConfig, _names, _whole_words, make_lexicon

SEA, MONEY = ["sea", "wind", "rain", "wave"], ["bank", "bond", "loan", "debt"]
TEXTS = ["<bos>", *(f" {word}" for word in [*SEA, *MONEY, "the", "rare"])]
N_WINDOWS, WINDOW = 400, 25


@pytest.fixture(scope="module")
def firings() -> Firings:
    """Windows are about the sea or about money; latent 0 fires on two words of one, 1 of the other, 2 on `the`."""
    rng = np.random.default_rng(0)
    about_sea = np.arange(N_WINDOWS) % 2 == 0
    tokens = np.where(
        about_sea[:, None], rng.integers(1, 5, (N_WINDOWS, WINDOW)), rng.integers(5, 9, (N_WINDOWS, WINDOW))
    )
    tokens[rng.random(tokens.shape) < 0.4] = 9
    tokens[:, 0] = 0
    tokens[3, 7] = 10
    current = tokens[:, 1:].ravel()
    fires = np.stack([np.isin(current, [1, 2]), np.isin(current, [5, 6]), current == 9], axis=1)
    indices = np.tile(np.arange(3, dtype=np.int16), (len(current), 1))
    return Firings(tokens, ~about_sea, fires.astype(np.float32), indices, 3)


@pytest.fixture(scope="module")
def lexicon(firings: Firings) -> Lexicon:
    return make_lexicon([firings], TEXTS, 0, LexiconConfig(families=3, topics=2, steps=300))


def test_families_hold_the_words_that_features_fire_on_alike(lexicon: Lexicon) -> None:
    assert sorted(sorted(words[:2]) for words in lexicon.typical_words.values() if words[0] != "the") == [
        ["bank", "bond"],
        ["sea", "wind"],
    ]
    assert {frozenset(name.split("/")) for name in lexicon.typical_words} > {
        frozenset(("bank", "bond")),
        frozenset(("sea", "wind")),
    }


def test_a_word_too_rare_to_know_is_like_nothing(lexicon: Lexicon) -> None:
    assert "rare" not in lexicon.words
    assert (lexicon.kind_table[10, : len(lexicon.typical_words)] == 0).all()


def test_names_are_unique_and_classes_are_not_taken_for_families(lexicon: Lexicon) -> None:
    assert len(set(lexicon.kinds)) == len(lexicon.kinds)
    assert "/" in lexicon.kinds[0]
    assert lexicon.kind_table[9, lexicon.kinds.index("articles")] == 1


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["invest", "investor", "fund", "loan", "bond", "stock", "share", "cash"], "invest/fund"),
        (["invest", "investor", "investment", "invested", "investing", "a", "b", "c"], "invest/investor"),
        (["depend", "deposit", "depth", "deputy", "depict", "depart", "bank", "loan"], "words in dep-"),
        (["comma"], "comma/…"),
    ],
)
def test_a_family_is_called_by_two_words_or_by_how_its_words_begin(words: list[str], name: str) -> None:
    assert next(_names(words)) == name


def test_parts_of_words_signs_and_letters_are_no_whole_words() -> None:
    forms = np.array(["subsid", "-iary", "bank", "comma", "i", "x"])
    forms_at = np.array([[0, 1, 2, 3, 4, 5], [0, 1, 2, 1, 2, 2]])
    assert forms[_whole_words(forms, forms_at)].tolist() == ["bank", "i"]


def test_the_lexicon_survives_its_file(lexicon: Lexicon, tmp_path: Path) -> None:
    save_lexicon(lexicon, tmp_path / "a.safetensors")
    again = load_lexicon(tmp_path / "a.safetensors", TEXTS, 0)
    assert again.kinds == lexicon.kinds
    assert again.topic_names == lexicon.topic_names
    assert load_typical_words(tmp_path / "a.safetensors") == lexicon.typical_words
    np.testing.assert_array_equal(again.kind_table, lexicon.kind_table)
    np.testing.assert_array_equal(again.topic_table, lexicon.topic_table)
    np.testing.assert_array_equal(again.near_high, lexicon.near_high)


def test_a_lexicon_that_cannot_be_written_is_told(lexicon: Lexicon, tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match=r"a\.safetensors can't be written"):
        save_lexicon(lexicon, tmp_path / "none" / "a.safetensors")


def test_another_vocabulary_keeps_the_words(lexicon: Lexicon, tmp_path: Path) -> None:
    save_lexicon(lexicon, tmp_path / "a.safetensors")
    turned = TEXTS[::-1]
    again = load_lexicon(tmp_path / "a.safetensors", turned, turned.index("<bos>"))
    families = slice(0, len(lexicon.typical_words))
    np.testing.assert_array_equal(again.kind_table[::-1][:, families], lexicon.kind_table[:, families])


@pytest.mark.parametrize("content", [None, b"", b"not safetensors at all"])
def test_what_is_no_lexicon_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrackerError, match="feature-tracker labels make"):
        load_lexicon(path, TEXTS, 0)


def test_without_a_lexicon_no_words_are_typical(tmp_path: Path) -> None:
    assert load_typical_words(tmp_path / "none.safetensors") == {}


def test_factors_of_a_product_give_it_back() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(40, 3, generator=generator) @ torch.rand(3, 30, generator=generator)
    a, b = factorize(x, 3, steps=2000, seed=0)
    assert (a >= 0).all()
    assert (b >= 0).all()
    assert float((x - a @ b).norm() / x.norm()) < 0.02
