from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from feature_tracker.bundles.bundle import Bundle, load_bundle
from feature_tracker.corpus.documents import read_documents
from feature_tracker.errors import TrackerError
from feature_tracker.labelling import examples as examples_module
from feature_tracker.labelling.examples import (
    MOST_EXAMPLES,
    coverage,
    examples_path,
    find_examples,
    load_examples,
    parse_marks,
    read_sentences,
    save_examples,
)
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae
from feature_tracker.tracker import Tracker
from tests.support import SHARED, tiny_labels

CORPUS = SHARED / "corpus"

SENTENCES = [
    "The central bank raised its policy rate by a quarter point.",
    "Net sales rose 5.4% to $1,234 million.",
    "Credit spreads tightened after the company repaid its loan.",
    "She walked home in the rain.",
    "Rates rose.",
    "“No comment,” he said (twice).",
    "Gross margin fell, and the board cut the dividend.",
    "The river froze early that year.",
]


@pytest.fixture(scope="module")
def tracker(tiny_model: LanguageModel, tiny_saes: dict[int, Sae], tiny_bundle: Bundle) -> Tracker:
    return Tracker(tiny_bundle, tiny_model, tiny_saes, tiny_labels(tiny_bundle, 40))


@pytest.fixture(scope="module")
def examples(tracker: Tracker) -> pd.DataFrame:
    return find_examples(SENTENCES, tracker)


def test_examples_go_from_the_strongest_sentence_to_weaker_ones(examples: pd.DataFrame, tracker: Tracker) -> None:
    traces = [tracker.trace(sentence) for sentence in SENTENCES]
    assert len(examples) > 100
    for (layer, feature), rows in examples.groupby(["layer", "feature"]):
        peaks = [trace.layers[layer].column(feature)[trace.counted].max() for trace in traces]
        assert len(rows) == min(MOST_EXAMPLES, sum(peak > 0 for peak in peaks))
        assert rows["sentence"].is_unique
        assert rows["sentence"].iloc[0] == np.argmax(peaks)
        assert rows["share"].is_monotonic_decreasing
        largest = tracker.labels.frame.at[(layer, feature), "max_activation"]
        assert rows["share"].to_numpy() == pytest.approx([peaks[n] / largest for n in rows["sentence"]], abs=1e-3)


def test_marks_are_the_words_on_which_the_feature_fires(examples: pd.DataFrame, tracker: Tracker) -> None:
    for example in examples.head(60).itertuples():
        sentence = SENTENCES[int(example.sentence)]
        trace = tracker.trace(sentence)
        column = trace.layers[int(example.layer)].column(int(example.feature))
        firing = {trace.tokens.word_at(position) for position in trace.counted if column[position] > 0}
        marks = parse_marks(str(example.marks))
        assert {sentence[start:end] for start, end, _ in marks} == firing
        assert all(1 <= tenths <= 10 for _, _, tenths in marks)


def test_an_index_survives_a_round_trip_and_others_are_refused(examples: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "tiny.examples.csv"
    save_examples(examples, SENTENCES, path)
    loaded = load_examples(path, SENTENCES)
    pd.testing.assert_frame_equal(loaded.reset_index(), examples)
    first_line = path.read_text().splitlines()[0]
    for sentences, content in (
        (SENTENCES[:3], None), (SENTENCES[::-1], None), (SENTENCES, f"{first_line}\na,b\n1,2\n"), (SENTENCES, ""),
    ):  # fmt: skip
        if content is not None:
            path.write_text(content)
        with pytest.raises(TrackerError, match="feature-tracker labels examples"):
            load_examples(path, sentences)
    with pytest.raises(TrackerError, match="feature-tracker labels examples"):
        load_examples(tmp_path / "none.csv", SENTENCES)


def test_headings_are_no_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "labels").mkdir()
    text = "# Filings\nNet sales rose.\n\n  Rates fell. \n"
    (tmp_path / "labels" / "sentences.txt").write_text(text, encoding="utf-8")
    monkeypatch.setattr(examples_module, "data_root", lambda: tmp_path)
    assert read_sentences() == ["Net sales rose.", "Rates fell."]


def test_coverage_counts_features_with_three_strong_examples() -> None:
    rows = [(1, 0, n, share, "") for n, share in enumerate((0.9, 0.6, 0.51, 0.2))]
    rows += [(1, 1, n, share, "") for n, share in enumerate((0.9, 0.6, 0.5))]
    frame = pd.DataFrame(rows, columns=["layer", "feature", "sentence", "share", "marks"])
    assert coverage(frame, {1: 4, 3: 2}) == {1: 0.25, 3: 0.0}


def test_the_project_s_sentences_are_many_and_its_own() -> None:
    sentences = read_sentences()
    assert len(sentences) >= 1500
    assert len(set(sentences)) == len(sentences)
    assert all(sentence.isprintable() for sentence in sentences)


def ten_words_in_a_row(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"[a-z0-9$%.]+", text.lower())
    return {tuple(words[start : start + 10]) for start in range(len(words) - 9)}


@pytest.mark.shared
@pytest.mark.skipif(not CORPUS.is_dir(), reason="the text corpus is not beside the project")
def test_no_ten_words_in_a_row_are_from_the_corpus() -> None:
    own = set().union(*map(ten_words_in_a_row, read_sentences()))
    for name in ("finance.jsonl.gz", "general.jsonl.gz"):
        for document in read_documents(CORPUS / name, None):
            assert not own & ten_words_in_a_row(document.text), (document.source, document.name)


@pytest.mark.model
def test_the_sentences_make_forty_thousand_tokens(builtin_model: LanguageModel) -> None:
    tokenizer = builtin_model.tokenizer
    assert sum(len(tokenizer(sentence).input_ids) for sentence in read_sentences()) >= 40_000


def test_most_built_in_features_have_strong_examples() -> None:
    bundle = load_bundle()
    index = load_examples(examples_path(bundle), read_sentences()).reset_index()
    shares = coverage(index, dict.fromkeys(bundle.layers, 400))
    assert np.mean(list(shares.values())) >= 0.8
    assert index.groupby(["layer", "feature"]).ngroups >= 1990
