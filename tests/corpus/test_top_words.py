from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from feature_tracker.corpus import word_sums
from feature_tracker.corpus.top_words import ON_NO_WORD, TopWords, choose_top_words
from feature_tracker.corpus.word_sums import WordSums
from feature_tracker.corpus.words import PASSAGE
from tests.corpus.planted_words import Planted, plant, random_batch

N_WORDS, N_LATENTS = 12, 5


def summed(batches: list[Planted], *, n_latents: int, slow: tuple[int, ...] = ()) -> WordSums:
    sums = WordSums(n_latents, np.array(slow, np.int64))
    for batch in batches:
        sums.add(batch.encoded, batch.words)
    return sums


def choose(
    batches: list[Planted],
    *,
    n_latents: int,
    shown: list[str],
    slow: tuple[int, ...] = (),
    documents: list[int] | None = None,
) -> list[TopWords]:
    """The labels; every window is a document where `documents` lacks."""
    sums = summed(batches, n_latents=n_latents, slow=slow)
    return choose_top_words(sums, shown, sums.windows if documents is None else np.array(documents))


def passage_mean(batch: Planted, token: int, latent: int) -> float:
    windows = batch.words.windows
    near = (windows == windows[token]) & (np.abs(np.arange(len(windows)) - token) <= PASSAGE)
    return float(batch.counted[near, latent].mean())


@pytest.mark.parametrize("fold_at", [1, 300, 10**9])
def test_sums_are_those_of_a_naive_count(monkeypatch: pytest.MonkeyPatch, fold_at: int) -> None:
    monkeypatch.setattr(word_sums, "_FOLD_AT", fold_at)
    generator = np.random.default_rng(0)
    batches = [random_batch(generator, n_latents=N_LATENTS, n_words=n_words) for n_words in (4, N_WORDS, 3)]
    nothing = plant([[-1, -1]], {}, n_latents=N_LATENTS)
    nothing.dense[:] = 1.0
    sums = summed([nothing, *batches, nothing], n_latents=N_LATENTS, slow=(1, 4))
    occurrences, windows = np.zeros(N_WORDS), np.zeros(N_WORDS)
    held, fired, passages = np.zeros((N_WORDS, N_LATENTS)), np.zeros((N_WORDS, N_LATENTS)), np.zeros((N_WORDS, 2))
    for batch in batches:
        tokens_of = defaultdict(list)
        for word, window, tokens in batch.occurrences():
            occurrences[word] += 1
            held[word] += batch.counted[tokens].max(axis=0)
            fired[word] += (batch.counted[tokens] > 0).any(axis=0)
            tokens_of[word, window] += tokens
        for (word, _), tokens in tokens_of.items():
            windows[word] += 1
            passages[word] += [np.mean([passage_mean(batch, token, latent) for token in tokens]) for latent in (1, 4)]
    np.testing.assert_array_equal(sums.occurrences, occurrences)
    np.testing.assert_array_equal(sums.windows, windows)
    np.testing.assert_allclose(sums.held().toarray(), held, rtol=1e-5)
    np.testing.assert_array_equal(sums.fired().toarray(), fired)
    np.testing.assert_allclose(sums.passages().toarray(), passages, rtol=1e-5)


def test_restored_sums_go_on_alike() -> None:
    generator = np.random.default_rng(0)
    first, second = (random_batch(generator, n_latents=N_LATENTS, n_words=N_WORDS) for _ in range(2))
    whole = summed([first, second], n_latents=N_LATENTS, slow=(2,))
    resumed = WordSums(N_LATENTS, np.array([2]))
    resumed.restore(summed([first], n_latents=N_LATENTS, slow=(2,)).state())
    resumed.add(second.encoded, second.words)
    for name, array in whole.state().items():
        np.testing.assert_allclose(resumed.state()[name], array, rtol=1e-5, err_msg=name)


def test_a_label_shows_the_words_that_hold_most_activation_and_fire_more_often_than_not() -> None:
    shown = ["good", "the", "better", "strong", "rare", "weak"]
    lines = [[0, 1, 2, 3, 1, 5, 1] for _ in range(10)] + [[4]]
    batch = plant(lines, {0: {0: 3.0, 2: 2.0, 3: 1.0, 4: 50.0, 5: 0.1}}, n_latents=2)
    batch.dense[np.flatnonzero(batch.words.words == 1)[:14], 0] = 9.0  # 14 of 30: most activation, but not mostly
    labels = choose([batch], n_latents=2, shown=shown)
    # "rare" was met once, "weak" adds too little, and latent 1 never fires.
    assert labels == [
        TopWords("fires on: good, better, strong", [0, 2, 3], slow=False),
        TopWords(ON_NO_WORD, [], slow=False),
    ]


def test_one_of_several_forms_of_a_word_is_shown() -> None:
    forms = (
        ["tariffs", "tariff", "Tariff’s"], ["increase", "Increasing", "increased"],
        ["companies", "company", "company's"], ["Committee's", "Committee"], ["the"], ["they"],
    )  # fmt: skip
    shown = [form for word in forms for form in word]
    worth = {word: 2 - word / 20 for word in range(len(shown))}
    batch = plant([[*worth]] * 20, {0: worth}, n_latents=1)
    (label,) = choose([batch], n_latents=1, shown=shown)
    assert label.label == "fires on: tariffs, increase, companies, Committee's, the"
    assert label.words == [0, 3, 6, 9, 11]


def test_a_label_has_at_most_six_words_and_sixty_characters() -> None:
    batch = plant([[*range(9)]] * 20, {0: {word: 2 - word / 10 for word in range(9)}}, n_latents=1)
    (short,) = choose([batch], n_latents=1, shown=[*"abcdefghi"])
    (long,) = choose([batch], n_latents=1, shown=["w" * 61, "a" * 25, "b" * 25, *"cdefgh"])
    assert short.label == "fires on: a, b, c, d, e, f"
    assert long.label == f"fires on: {'a' * 25}, c, d, e, f, g"
    assert long.words == [1, 3, 4, 5, 6, 7]


def test_where_no_word_is_sure_three_occurrences_do() -> None:
    # Of one window, as in a corpus of one short document.
    batch = plant([[0, 0, 0, 1, 1, 2]], {0: {0: 1.0, 1: 9.0, 2: 9.0}}, n_latents=1)
    assert choose([batch], n_latents=1, shown=["three", "two", "one"])[0].label == "fires on: three"
    none = plant([[0, 0, 1]], {0: {0: 1.0, 1: 9.0}}, n_latents=1)
    assert choose([none], n_latents=1, shown=["two", "one"])[0].label == ON_NO_WORD


def test_many_documents_count_for_more_than_many_occurrences() -> None:
    batch = plant([[0, 1, 1, 1]] * 20, {0: {0: 5.0, 1: 1.0}}, n_latents=1)
    for documents, label in (([20, 20], "name, word"), ([5, 20], "word"), ([5, 5], "name, word")):
        (top,) = choose([batch], n_latents=1, shown=["name", "word"], documents=documents)
        assert top.label == f"fires on: {label}"


def tariff_windows() -> list[list[int]]:
    """Twelve windows about trade and twelve about weather, with "the" everywhere."""
    trade, weather = [0, 1, 4, 2, 4, 4], [0, 3, 4, 5, 4, 4]
    return [trade * 3 for _ in range(12)] + [weather * 3 for _ in range(12)]


def test_a_slow_feature_is_labelled_by_the_words_of_its_passages() -> None:
    shown = ["of", "tariffs", "imports", "rain", "the", "cloud"]
    batch = plant(tariff_windows(), {}, n_latents=2)
    about_trade = batch.words.windows < 12
    batch.dense[about_trade & (batch.words.words != 2), :] = 1.0
    batch.dense[about_trade & (batch.words.words == 4), :] = 9.0  # it peaks on "the"
    slow, fast = choose([batch], n_latents=2, slow=(0,), shown=shown)
    # It is silent on "imports" itself; "of" and "the" stand in all passages.
    assert slow == TopWords("in passages with: tariffs", [1], slow=True)
    assert fast.label == "fires on: tariffs"
    shown[1] = "“),”"
    assert [top.label for top in choose([batch], n_latents=2, slow=(0,), shown=shown)] == [ON_NO_WORD, "fires on: “),”"]
