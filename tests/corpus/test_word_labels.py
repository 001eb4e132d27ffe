from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result

from feature_tracker.cli.labels import main
from feature_tracker.corpus import checkpoint as checkpoint_module, word_labels as word_labels_module
from feature_tracker.corpus.documents import Windows, numbered_windows, whole_windows, windows_of
from feature_tracker.corpus.harvest import continue_harvest, start_harvest
from feature_tracker.corpus.measure import Measurement
from feature_tracker.corpus.origin import Origin
from feature_tracker.corpus.top_words import ON_NO_WORD, TopWords
from feature_tracker.corpus.word_labels import WordLabels, with_top_words
from feature_tracker.errors import TrackerError
from feature_tracker.labels.columns import IMPORTED, REQUIRED, UNVERIFIED
from feature_tracker.labels.consistency import contradictions
from feature_tracker.labels.csv_files import load_labels, save_labels
from feature_tracker.labels.scores import JUDGED, NO_BETTER, TOP_WORDS
from feature_tracker.labels.table import LabelTable, latents_of, with_rows
from feature_tracker.model.load import LanguageModel, load_model_folder
from feature_tracker.model.tokens import tokenize
from feature_tracker.sae.load import load_saes, save_sae
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.run import batched, trace_tokens
from feature_tracker.tracker import Tracker
from tests.support import SENTENCES, Interrupted, interrupted_after, random_sae

WINDOW = 16
TRAIN = [SENTENCES, "Net sales fell. The bank raised its rate, and spreads widened.", " ", SENTENCES[::-1][:200]]
HELD_OUT = ["The company repaid its loan as inflation rose.", SENTENCES[40:160]]
SLOW = {1: [0, 5, 7], 4: range(20)}


def windows(texts: Sequence[str], model: LanguageModel) -> Iterator[np.ndarray]:
    return windows_of(texts, model.tokenizer, window=WINDOW)


def label_features(
    model: LanguageModel,
    saes: dict[int, Sae],
    *,
    train: Sequence[str] = TRAIN,
    **options: Any,
) -> dict[int, list[TopWords]]:
    labels = WordLabels(model, saes, **{"slow": SLOW, "window": WINDOW} | options)
    labels.learn(numbered_windows(train, model.tokenizer, window=WINDOW))
    return labels.choose()


def shares_of_words(
    layer: int, model: LanguageModel, saes: dict[int, Sae], texts: Sequence[str]
) -> dict[str, np.ndarray]:
    """How often each latent fires on each word (case-folded), from traces."""
    fired: dict[str, list[np.ndarray]] = {}
    for text in filter(str.strip, texts):
        tokens = tokenize(text, model.tokenizer, window=WINDOW, max_tokens=10_000)
        dense = trace_tokens(tokens, model, saes).layers[layer].dense()
        edges = np.arange(len(dense)) // (WINDOW - 1)
        for word in range(len(tokens.words.spans)):
            for window in np.unique(edges[tokens.words.word_of == word]):
                here = np.flatnonzero((tokens.words.word_of == word) & (edges == window))
                begin, end = tokens.offsets[here[0], 0], tokens.offsets[here[-1], 1]
                fired.setdefault(text[begin:end].strip().casefold(), []).append((dense[here] > 0).any(axis=0))
    return {word: np.mean(hits, axis=0) for word, hits in fired.items()}


def test_every_feature_is_labelled_by_words_on_which_it_fires_more_often_than_not(
    tiny_model: LanguageModel, tiny_saes: dict[int, Sae]
) -> None:
    labels = label_features(tiny_model, tiny_saes)
    n_words = 0
    assert [sum(label.slow for label in part) for part in labels.values()] == [3, 0, 20]
    for layer, part in labels.items():
        shares = shares_of_words(layer, tiny_model, tiny_saes, TRAIN)
        assert len(part) == tiny_saes[layer].n_latents
        for latent, (label, _, _) in enumerate(part):
            if label == ON_NO_WORD:
                continue
            start, listed = label.split(": ")
            assert start == ("in passages with" if latent in SLOW.get(layer, ()) else "fires on")
            for word in filter(str.isalpha, listed.split(", ")):
                if word.casefold() in shares:  # not the name of a sign
                    n_words += 1
                    assert shares[word.casefold()][latent] > 0.5, (layer, latent, label)
    assert n_words > 50


def test_one_document_is_enough(tiny_model: LanguageModel, tiny_saes: dict[int, Sae]) -> None:
    labels = label_features(tiny_model, tiny_saes, train=["Rates rose. Rates rose, rates rose."])
    assert any(label.label != ON_NO_WORD for label in labels[3])


def test_no_training_text_labels_no_feature(tiny_model: LanguageModel, tiny_saes: dict[int, Sae]) -> None:
    labels = label_features(tiny_model, tiny_saes, train=[" "])
    assert {label.label for label in labels[1]} == {ON_NO_WORD}


@pytest.fixture
def often_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_module, "_SECONDS", -1.0)
    monkeypatch.setattr(word_labels_module, "batched", partial(batched, tokens=2 * WINDOW))


@pytest.mark.usefixtures("often_saved")
def test_an_interrupted_run_goes_on_to_equal_labels(
    tiny_model: LanguageModel, tiny_saes: dict[int, Sae], tmp_path: Path
) -> None:
    whole = label_features(tiny_model, tiny_saes)
    n_training = len(list(batched(windows(TRAIN, tiny_model), window=WINDOW, bos_id=0, tokens=2 * WINDOW)))
    for batches in (0, 1, n_training - 1):
        checkpoint = tmp_path / f"{batches}.npz"
        with interrupted_after(batches, tiny_model), pytest.raises(Interrupted):
            label_features(tiny_model, tiny_saes, checkpoint=checkpoint)
        with interrupted_after(n_training - batches, tiny_model):
            assert label_features(tiny_model, tiny_saes, checkpoint=checkpoint) == whole


def test_a_checkpoint_of_other_options_is_refused(
    tiny_model: LanguageModel, tiny_saes: dict[int, Sae], tmp_path: Path
) -> None:
    checkpoint = tmp_path / "sums.npz"
    one, two = (Origin(layers=tuple(tiny_saes), d_model=32, finance_text=(name,)) for name in ("a.txt", "b.txt"))
    label_features(tiny_model, tiny_saes, checkpoint=checkpoint, origin=one)
    for message, saes, options in (
        ("expected window 8, found 16", tiny_saes, {"window": 8}),
        ("expected finance_text b.txt, found a.txt", tiny_saes, {"origin": two}),
        ("expected saes", tiny_saes | {3: random_sae(32, seed=9)}, {}),
        ("the table calls other features of layer 1 slow", tiny_saes, {"slow": {1: [0, 5], 4: range(20)}}),
    ):
        with pytest.raises(TrackerError, match=message):
            label_features(tiny_model, saes, checkpoint=checkpoint, **options)
    measured = tmp_path / "measured.npz"
    Measurement(tiny_model, tiny_saes, window=WINDOW, checkpoint=measured).measure(TRAIN, HELD_OUT)
    for content in (checkpoint.read_bytes()[:5000], b"", measured.read_bytes()):
        checkpoint.write_bytes(content)
        with pytest.raises(TrackerError, match=r"sums\.npz is not a checkpoint of top words, or is damaged"):
            label_features(tiny_model, tiny_saes, checkpoint=checkpoint)
    (tmp_path / "file").write_text("")
    with interrupted_after(0, tiny_model), pytest.raises(TrackerError, match="can't be written"):
        label_features(tiny_model, tiny_saes, checkpoint=tmp_path / "file" / "sums.npz")


def top_words_frame(saes: dict[int, Sae]) -> pd.DataFrame:
    features = [(layer, latent) for layer, sae in saes.items() for latent in range(sae.n_latents)]
    index = pd.MultiIndex.from_tuples(features, names=["layer", "feature"])
    words = [f"fires on: word {number}" for number in range(len(index))]
    return pd.DataFrame({"top_words": words, "f1": 0.5, "f1_strong": 0.75, "f1_method": TOP_WORDS}, index=index)


def test_a_table_keeps_its_measures_and_loses_what_was_said_of_its_old_labels(
    tiny_saes: dict[int, Sae], tmp_path: Path
) -> None:
    labels = top_words_frame(tiny_saes)
    row = dict.fromkeys([*REQUIRED, *IMPORTED], np.nan) | {
        "label": "Loans", "f1": 0.5, "f1_always_yes": 0.9, "mark": NO_BETTER, "f1_method": "reported",
        "specialization": -5.0, "specialization_source": UNVERIFIED, "label_source": "a.csv", "original_label": "Loans",
        "density": 0.25,
    }  # fmt: skip
    index = pd.MultiIndex.from_tuples([(3, 7)], names=["layer", "feature"])
    for standing in (LabelTable(pd.DataFrame([row], index=index)), None):
        save_labels(with_top_words(standing, labels, "tiny"), tmp_path / "t.csv")
        table = load_labels(tmp_path / "t.csv", latents_of(tiny_saes))
        assert len(table.frame) == 120
        assert table.bundles == ["tiny"]
        assert table.frame["label"].tolist() == table.frame["top_words"].tolist() == labels["top_words"].tolist()
        assert not {"original_label", "label_source", "mark", "f1_always_yes"} & set(table.frame.columns)
        assert contradictions(table) == []
        if standing is not None:
            assert table.frame.at[(3, 7), "density"] == 0.25
            assert table.frame.at[(3, 7), "specialization_source"] == UNVERIFIED


def test_top_words_stand_beside_a_written_label_and_leave_its_scores_alone(
    tiny_saes: dict[int, Sae], tmp_path: Path
) -> None:
    labels = top_words_frame(tiny_saes)
    table = with_top_words(None, labels, "tiny")
    written = {"label": "Court rulings", "detail": "Lawsuits.", "kind": "topic", "f1": 0.9, "f1_method": JUDGED}
    table = with_rows(table, pd.DataFrame([written], index=labels.index[7:8]))
    again = with_top_words(table, labels.assign(f1=0.4, top_words="fires on: other"), "tiny")
    save_labels(again, tmp_path / "t.csv")
    frame = load_labels(tmp_path / "t.csv", latents_of(tiny_saes)).frame
    row = frame.loc[labels.index[7]]
    assert row[["label", "top_words", "kind", "f1", "f1_method"]].tolist() == [
        "Court rulings", "fires on: other", "topic", 0.9, JUDGED,
    ]  # fmt: skip
    others = frame.drop(index=[labels.index[7]])
    assert set(others["label"]) == {"fires on: other"}
    assert set(others["f1"]) == {0.4}
    assert set(others["kind"]) == {""}


def test_guessing_scores_two_thirds_however_rarely_a_feature_fires() -> None:
    frame = pd.DataFrame({"f1": [0.66, 0.67], "n_positive": 10, "n_negative": 9990, "f1_method": TOP_WORDS})
    table = LabelTable(frame.set_index(pd.MultiIndex.from_tuples([(4, 0), (4, 1)])))
    assert table.f1_always_yes.tolist() == pytest.approx([2 / 3, 2 / 3])
    assert table.reliable.tolist() == [False, True]


@pytest.fixture
def folder(tiny_model: LanguageModel, tmp_path: Path) -> Path:
    """A folder with a model, SAEs of 30 and 40 latents, and text."""
    tiny_model.model.save_pretrained(tmp_path / "model")
    tiny_model.tokenizer.save_pretrained(tmp_path / "model")
    for layer, n_latents in ((1, 30), (3, 40)):
        save_sae(tmp_path / "saes", layer, random_sae(tiny_model.d_model, n_latents=n_latents), dtype=torch.float32)
    documents = [{"text": text, "split": "train"} for text in TRAIN]
    documents += [{"text": text, "split": "validation"} for text in HELD_OUT]
    (tmp_path / "text.jsonl").write_text("\n".join(map(json.dumps, documents)))
    return tmp_path


def label_words(
    folder: Path, *options: str, general: str = "text.jsonl", layers: str = "1 3", text: bool = True
) -> Result:
    texts = ["--finance", str(folder / "text.jsonl"), "--general", str(folder / general)] if text else []
    return CliRunner().invoke(
        main,
        ["words", "--bundle", "llama2-7b-finance", "--model", str(folder / "model"), "--saes", str(folder / "saes"),
         "--layers", layers, "--dtype", "float32", "--labels", str(folder / "t.csv"), *texts, *options],
    )  # fmt: skip


def test_the_command_labels_saes_of_different_sizes(folder: Path) -> None:
    done = label_words(folder)
    assert done.exit_code == 0, done.output
    assert "| 3 | 0 | " in done.stdout
    table = load_labels(folder / "t.csv", {1: 30, 3: 40})
    assert len(table.frame) == 70
    assert table.frame["label"].str.startswith("fires on").all()
    assert table.frame["f1"].isna().all()  # the held-out documents fill no window
    assert "no validation document fills a window" in done.stderr
    assert table.bundles == ["llama2-7b-finance"]


def test_features_that_the_table_calls_slow_are_labelled_by_their_passages(folder: Path) -> None:
    assert label_words(folder).exit_code == 0
    table = load_labels(folder / "t.csv", {1: 30, 3: 40})
    table.frame["autocorrelation"] = [0.3, 0.2, np.nan] + [0.1] * 66 + [0.21]
    save_labels(table, folder / "t.csv")
    assert label_words(folder, "--replace").exit_code == 0
    table = load_labels(folder / "t.csv", {1: 30, 3: 40})
    by_passages = table.frame["label"].str.startswith("in passages with")
    assert by_passages.index[by_passages].tolist() == [(1, 0), (3, 39)]
    assert table.frame["autocorrelation"].iloc[0] == 0.3


def test_a_harvest_gives_the_labels_that_its_text_gives(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 16 tokens, some of which were not collected; streams are stored in 16 bits."""
    model = load_model_folder(folder / "model", "bfloat16", name="tiny")
    for split, texts in (("train", TRAIN * 2), ("validation", HELD_OUT)):
        ids = whole_windows(texts, model.tokenizer, window=WINDOW)
        numbered = numbered_windows(texts, model.tokenizer, window=WINDOW)
        document = np.array([number for number, ids in numbered if len(ids) == WINDOW - 1])
        nothing = np.zeros(len(ids), np.int32)
        origin = Origin(layers=(1, 3), d_model=32, bundle="llama2-7b-finance", split=split)
        start_harvest(folder / "work" / split, Windows(ids, nothing > 0, document, nothing, ("a",)), origin)
        continue_harvest(folder / "work" / split, model)
    n_read = len(whole_windows(TRAIN, model.tokenizer, window=WINDOW))
    progress = folder / "work" / "train" / "progress.json"
    progress.write_text(json.dumps(json.loads(progress.read_text()) | {"n_done": n_read}))
    monkeypatch.setattr(type(model.decoder), "forward", lambda *_, **__: pytest.fail("ran the model"))
    done = label_words(folder, "--work", str(folder / "work"), text=False)
    monkeypatch.undo()
    assert done.exit_code == 0, done.output
    harvested = load_labels(folder / "t.csv", {1: 30, 3: 40}).frame
    saes = load_saes(folder / "saes", [1, 3])
    labels = WordLabels(model, saes, slow={}, window=WINDOW)
    train = numbered_windows(TRAIN, model.tokenizer, window=WINDOW)
    labels.learn((document, ids) for document, ids in train if len(ids) == WINDOW - 1)
    assert harvested["label"].tolist() == [label.label for part in labels.choose().values() for label in part]


def test_text_and_harvest_exclude_each_other(folder: Path) -> None:
    work = ["--work", str(folder / "work")]
    assert "not both" in label_words(folder, *work).output
    assert "--tokens belongs to the first" in label_words(folder, *work, "--tokens", "3", text=False).output
    assert "Name text of both kinds" in label_words(folder, text=False).output
    assert "No activations in" in label_words(folder, *work, text=False).output


def test_labels_are_replaced_only_when_asked(folder: Path) -> None:
    assert label_words(folder).exit_code == 0
    before = (folder / "t.csv").read_bytes()
    refused = label_words(folder, "--tokens", "30")
    assert refused.exit_code == 1
    assert "already holds labels of 70 features. Replace them with --replace" in refused.output
    assert label_words(folder, "--tokens", "30", "--out", str(folder / "other.csv")).exit_code == 0
    assert "already exists" in label_words(folder, "--out", str(folder / "other.csv")).output
    assert "rows of layers that are not chosen" in label_words(folder, "--replace", layers="3").output
    assert (folder / "t.csv").read_bytes() == before
    assert label_words(folder, "--tokens", "30", "--replace").exit_code == 0
    assert (folder / "t.csv").read_bytes() == (folder / "other.csv").read_bytes() != before


def test_what_is_wrong_is_told_before_a_model_is_fetched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tracker, "open", lambda *_, **__: pytest.fail("fetched a model"))
    (folder / "text.jsonl.gz").write_text('{"text": "Not compressed.", "split": "train"}\n')
    (folder / "held out.jsonl").write_text('{"text": "Nothing to learn.", "split": "validation"}\n')
    (folder / "no split.jsonl").write_text('{"text": "All of it."}\n')
    for general, part in (
        ("none", "neither"),
        ("text.jsonl.gz", "text.jsonl.gz"),
        ("held out.jsonl", "no general text of the split `train`"),
        ("no split.jsonl", "`text` and `split`"),
    ):
        failed = label_words(folder, general=general)
        assert failed.exit_code == 1
        assert part in failed.output
    assert "can't be written" in label_words(folder, "--out", str(folder / "text.jsonl" / "t.csv")).output
    assert "it lacks layers.2" in label_words(folder, layers="1 2").output


@pytest.mark.usefixtures("often_saved")
def test_the_command_goes_on_from_its_checkpoint_and_writes_nothing_half(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, out = folder / "sums.npz", folder / "out.csv"
    assert label_words(folder).exit_code == 0
    expected = (folder / "t.csv").read_bytes()
    open_tracker = Tracker.open

    def resume(*options: str, forwards: int = sys.maxsize) -> Result:
        interrupting = []

        def open_interrupted(*arguments: Any, **keywords: Any) -> Tracker:
            tracker = open_tracker(*arguments, **keywords)
            interrupting.append(interrupted_after(forwards, tracker.language_model))
            interrupting[0].__enter__()
            return tracker

        with monkeypatch.context() as patch:
            patch.setattr(Tracker, "open", open_interrupted)
            return label_words(folder, "--checkpoint", str(checkpoint), "--out", str(out), "--replace", *options)

    out.write_text("what was there before")
    assert isinstance(resume(forwards=3).exception, Interrupted)
    assert out.read_text() == "what was there before"
    assert "expected max_tokens 3, found all" in resume("--tokens", "3").output
    with monkeypatch.context() as patch:
        patch.setattr("feature_tracker.cli.labels_words.replace_table", Mock(side_effect=TrackerError("Disk full.")))
        assert "Disk full." in resume().output
    assert checkpoint.exists()
    done = resume()
    assert done.exit_code == 0, done.output
    assert out.read_bytes() == expected
    assert not checkpoint.exists()
