"""`python -m benchmarks.finding`: are concepts found from ten examples, and nothing where there is nothing?

And what does a probe cost that somebody can read? Concepts are words and their relatives in the sentences that this
project wrote (`labels/sentences.txt`). Which sentences hold one is told by the expressions below, so a sentence that
means it in other words counts against the features.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, StandardScaler

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.cli.options import bundle_options
from feature_tracker.compare.examples import SIGNIFICANT, separation
from feature_tracker.compare.probe import mean_streams, pooled, variance_between
from feature_tracker.compare.strengths import Span, SpanReader
from feature_tracker.labelling.examples import read_sentences
from feature_tracker.tracker import Tracker

CONCEPTS = {
    "labor market": r"jobs?|hiring|hired|unemploy\w*|employment|wages?|payrolls?|workers?|labou?r|staffing|layoffs?",
    "lawsuits": r"lawsuits?|court|litigation|plaintiffs?|defendants?|complaint|judge|settlement|class action|jury",
    "inflation": r"inflation\w*|consumer prices|price stability|disinflation\w*",
    "taxes": r"tax\w*|IRS|deductible",
    "weather": r"drought|rain\w*|snow\w*|storms?|weather|flood\w*|hurricane\w*|wind",
    "farming": r"crops?|corn|wheat|soybeans?|cattle|farm\w*|harvest\w*|livestock|hogs?",
    "housing": r"hous(?:e|es|ing)|homes?|mortgages?|residential|homebuil\w+|apartments?",
    "energy": r"oil|gas|crude|drilling|barrels?|pipelines?|refiner\w+|energy",
}
_EXAMPLES, _DRAWS, _BEST = 10, 12, 5
_SHUFFLES = 200
_FEW, _MANY = 20, 50


@click.command()
@bundle_options
@click.option("--stance", type=click.Path(exists=True, path_type=Path), help="splits.csv of labelled sentences.")
def main(bundle: Bundle, stance: Path | None) -> None:
    """Measure; prints one JSON object."""
    tracker = Tracker.open(bundle)
    reader, _ = tracker.kinds_of_change()
    sentences = read_sentences()
    traces = reader.trace(sentences)
    values = reader.strengths(traces, [Span(text, 0, len(text)) for text in sentences])
    figures: dict[str, Any] = {
        "concepts": {name: concept(pattern, sentences, values) for name, pattern in CONCEPTS.items()},
        "nothing_found_in_shuffled_lists": shuffled_lists(values),
    }
    if stance is not None:
        figures["stance_weighted_f1"] = stances(pd.read_csv(stance), reader)
    click.echo(json.dumps(figures))


def concept(pattern: str, sentences: Sequence[str], values: np.ndarray) -> dict[str, float]:
    """Mean AUC on all other sentences over draws of ten examples with it and ten without.

    `features`: the sum of the five features that separate the examples best. `words`: logistic regression on TF-IDF.
    """
    holds = np.array([bool(re.search(rf"\b(?:{pattern})\b", text, re.IGNORECASE)) for text in sentences])
    by_features, by_words = [], []
    for seed in range(_DRAWS):
        rng = np.random.default_rng(seed)
        drawn = np.concatenate([rng.choice(np.flatnonzero(side), _EXAMPLES, replace=False) for side in (holds, ~holds)])
        left = np.setdiff1d(np.arange(len(sentences)), drawn)
        statistic = separation(values[drawn], holds[drawn]).statistic
        best = np.argsort(-np.abs(statistic), kind="stable")[:_BEST]
        by_features.append(roc_auc_score(holds[left], (values[left][:, best] * np.sign(statistic[best])).sum(axis=1)))
        words = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10.0))
        words.fit([sentences[i] for i in drawn], holds[drawn])
        by_words.append(roc_auc_score(holds[left], words.decision_function([sentences[i] for i in left])))
    return {
        "sentences": int(holds.sum()),
        "features": round(float(np.mean(by_features)), 3),
        "words": round(float(np.mean(by_words)), 3),
    }


def shuffled_lists(values: np.ndarray) -> float:
    """Share of lists of random sentences on random sides in which nothing is found."""
    rng = np.random.default_rng(0)
    nothing = 0
    for _ in range(_SHUFFLES):
        drawn = rng.choice(len(values), 2 * _EXAMPLES, replace=False)
        p = separation(values[drawn], np.arange(2 * _EXAMPLES) < _EXAMPLES).p
        nothing += bool((p > SIGNIFICANT).all())
    return nothing / _SHUFFLES


def stances(splits: pd.DataFrame, reader: SpanReader) -> dict[str, dict[str, float]]:
    """Weighted F1 on the test part of each published split, by what is read."""
    sentences = splits["sentence"].drop_duplicates().tolist()
    row_of = {text: row for row, text in enumerate(sentences)}
    columns = pooled(sentences, reader)
    means = columns[:, columns.shape[1] // 2 :]
    stream = mean_streams([reader.tokenize(text) for text in sentences], reader)
    scores: dict[str, dict[str, float]] = {}
    for seed, split in splits.groupby("split_seed"):
        train, test = (split[split["part"] == part] for part in ("train", "test"))
        rows = {
            part: [row_of[text] for text in frame["sentence"]] for part, frame in (("train", train), ("test", test))
        }
        texts = {part: np.array([sentences[i] for i in at], dtype=object) for part, at in rows.items()}
        dense = {name: {p: table[at] for p, at in rows.items()} for name, table in (("m", means), ("s", stream))}
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
        few_words = make_pipeline(CountVectorizer(binary=True, min_df=5), SelectKBest(_sparse_variance, k=_FEW))
        models = {
            f"{_FEW} features": (_few(_FEW), dense["m"]),
            f"{_FEW} words": (make_pipeline(few_words, LogisticRegression(max_iter=1000)), texts),
            "words (TF-IDF)": (make_pipeline(words, LogisticRegression(C=3.0, max_iter=1000)), texts),
            "residual stream": (_all(), dense["s"]),
            "all features": (_all(), dense["m"]),
        }
        scores[str(seed)] = {name: _f1(model, data, train, test) for name, (model, data) in models.items()}
        scores[str(seed)][f"words and {_MANY} features"] = _f1(
            LogisticRegression(C=3.0, max_iter=1000), _joined(words, texts, dense["m"], train["label"]), train, test
        )
    names = next(iter(scores.values()))
    mean = {name: round(float(np.mean([each[name] for each in scores.values()])), 3) for name in names}
    return scores | {"mean": mean}


def _few(k: int) -> Any:
    return make_pipeline(SelectKBest(variance_between, k=k), StandardScaler(), LogisticRegression(C=0.3, max_iter=1000))


def _all() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.003, max_iter=1000))


def _sparse_variance(rows: Any, answers: np.ndarray) -> np.ndarray:
    return variance_between(rows.toarray(), answers)


def _joined(
    words: Any, texts: dict[str, np.ndarray], means: dict[str, np.ndarray], answers: pd.Series
) -> dict[str, Any]:
    """TF-IDF beside the features that tell most, each scaled so that they weigh about as much as words."""
    few = make_pipeline(SelectKBest(variance_between, k=_MANY), StandardScaler(), MaxAbsScaler())
    few.fit(means["train"], answers)
    words.fit(texts["train"])
    return {
        part: np.hstack([words.transform(texts[part]).toarray(), few.transform(means[part])])
        for part in ("train", "test")
    }


def _f1(model: Any, data: dict[str, Any], train: pd.DataFrame, test: pd.DataFrame) -> float:
    model.fit(data["train"], train["label"])
    return round(float(f1_score(test["label"], model.predict(data["test"]), average="weighted")), 3)


if __name__ == "__main__":
    main()
