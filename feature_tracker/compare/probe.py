"""A sparse probe: a few readable features that tell labelled sentences apart, and what reading costs.

The probe is a logistic regression on features chosen inside each fold. Beside its F1 stand those of TF-IDF, of the
residual stream and of all features, on the same folds: the difference is the price of a probe that somebody can read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from pydantic import TypeAdapter, ValidationError
from sklearn.base import BaseEstimator
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from feature_tracker.compare.strengths import Span, SpanReader
from feature_tracker.errors import TrackerError
from feature_tracker.labels.columns import KEYS
from feature_tracker.labels.table import LabelTable
from feature_tracker.model.forward_queue import FORWARDS
from feature_tracker.model.tokens import TokenizedText
from feature_tracker.progress import Progress, silent
from feature_tracker.tracing.run import Batch, batched, run

MOST_FEATURES = 20
_FOLDS = 5
_SEED = 0
_MOST_BYTES = 1_000_000
_STRENGTH_FEW, _STRENGTH_ALL, _STRENGTH_WORDS = 0.3, 0.003, 3.0
"""scikit-learn's C. With many more columns than a probe reads, little freedom does best."""
POOLINGS = ("largest", "mean")


class Column(NamedTuple):
    """A number that a probe reads of a sentence.

    Attributes:
        layer, feature: whose strength it is.
        pooling: `largest` on the sentence's tokens, or their `mean`.
        mean, deviation: that it is scaled by.
        label: of the feature.
        weights: one a class, or one alone for the second of two classes.
    """

    layer: int
    feature: int
    pooling: str
    mean: float
    deviation: float
    label: str
    weights: list[float]


@dataclass(frozen=True)
class Probe:
    """A fitted probe, as its JSON file holds it.

    Attributes:
        bundle: whose features it reads.
        saes: fingerprint of their weights.
        classes: in the order of the weights.
        columns: what it reads.
        intercept: one a class, or one alone for the second of two classes.
    """

    bundle: str
    saes: str
    classes: list[str]
    columns: list[Column]
    intercept: list[float]

    def to_json(self) -> bytes:
        """The probe as JSON, see `read_probe`."""
        return json.dumps(asdict(self) | {"columns": [column._asdict() for column in self.columns]}, indent=1).encode()


class Probed(NamedTuple):
    """A probe, and how well it and others tell the classes on sentences left out.

    Attributes:
        probe: fitted on all sentences.
        scores: `read, n_columns, f1, deviation`: weighted F1 over folds, and its standard deviation among them.
    """

    probe: Probe
    scores: pd.DataFrame


def fit_probe(
    sentences: Sequence[str],
    classes: Sequence[str],
    reader: SpanReader,
    labels: LabelTable,
    *,
    bundle: str,
    saes: str,
    n_features: int = MOST_FEATURES,
    progress: Progress = silent,
) -> Probed:
    """Fit a probe on labelled sentences, and compare it with others by cross-validation.

    Only features whose label beats guessing are read, as long as any does.

    Args:
        classes: of each sentence.
        reader: with a scale for every feature.
        bundle, saes: what the probe is for, see `Probe`.

    Raises:
        TrackerError: one class alone, or a class with fewer sentences than there are folds.
    """
    _check(classes)
    answers = np.array(classes)
    readable = _readable(reader, labels)
    columns = pooled(sentences, reader, progress)
    few = make_pipeline(
        SelectKBest(variance_between, k=min(n_features, 2 * int(readable.sum()))),
        StandardScaler(),
        LogisticRegression(C=_STRENGTH_FEW, max_iter=1000),
    )
    many = make_pipeline(StandardScaler(), LogisticRegression(C=_STRENGTH_ALL, max_iter=1000))
    words = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=_STRENGTH_WORDS, max_iter=1000)
    )
    stream = mean_streams([reader.tokenize(text) for text in sentences], reader)
    both = np.flatnonzero(np.concatenate([readable, readable]))
    rows = [
        _score("features that the probe reads", n_features, few, columns[:, both], answers),
        _score("words (TF-IDF)", None, words, np.array(sentences, dtype=object), answers),
        _score("the residual stream, middle layer", stream.shape[1], many, stream, answers),
        _score("all features", columns.shape[1], many, columns, answers),
    ]
    few.fit(columns[:, both], answers)
    return Probed(_probe_of(few, both, reader, labels, bundle, saes), pd.DataFrame(rows))


def _check(classes: Sequence[str]) -> None:
    counts = pd.Series(list(classes)).value_counts()
    if len(counts) < 2:
        raise TrackerError(
            f"All sentences have one label, {counts.index[0] if len(counts) else 'none'}. Give two or more."
        )
    if counts.iloc[-1] < _FOLDS:
        raise TrackerError(
            f"The label {counts.index[-1]} has {counts.iloc[-1]} sentences; each needs {_FOLDS}, so that some can be "
            "left out."
        )


def variance_between(rows: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """(n_columns,) variance between the classes as a share of each column's own; 0 for a column that never changes."""
    classes, numbers = np.unique(answers, return_inverse=True)
    sizes = np.bincount(numbers)
    means = np.array([rows[numbers == number].mean(axis=0) for number in range(len(classes))])
    between = sizes @ (means - rows.mean(axis=0)) ** 2
    own = ((rows - rows.mean(axis=0)) ** 2).sum(axis=0)
    return np.divide(between, own, out=np.zeros_like(between, dtype=float), where=own > 0)


def _readable(reader: SpanReader, labels: LabelTable) -> np.ndarray:
    known = labels.describe(pd.MultiIndex.from_tuples([tuple(feature) for feature in reader.features], names=KEYS))
    readable = known["reliable"].to_numpy(dtype=bool) & reader.compared
    return readable if readable.any() else reader.compared.copy()


def pooled(sentences: Sequence[str], reader: SpanReader, progress: Progress = silent) -> np.ndarray:
    """(n_sentences, 2 n_features) each feature's largest strength in a sentence read alone, then its mean."""
    traces = reader.trace(sentences, progress)
    largest = reader.strengths(traces, [Span(text, 0, len(text)) for text in sentences])
    means = {text: reader.mean_strengths(trace) for text, trace in traces.items()}
    return np.concatenate([largest, np.array([means[text] for text in sentences])], axis=1)


def mean_streams(texts: Sequence[TokenizedText], reader: SpanReader) -> np.ndarray:
    """(n_texts, d_model) the mean residual stream of each text's first window, after the middle of the SAEs' layers."""
    layer = sorted(reader.saes)[len(reader.saes) // 2]
    by_length = sorted(range(len(texts)), key=lambda number: texts[number].n_tokens)
    means: list[torch.Tensor] = []
    first = reader.language_model.first_token

    def keep(_layer: int, resid: torch.Tensor, batch: Batch) -> None:
        tokens = resid[:, first:].float()
        is_token = torch.ones(tokens.shape[:2]) if batch.is_token is None else batch.is_token
        weights = (is_token / is_token.sum(dim=1, keepdim=True)).to(tokens)
        means.append((tokens * weights[..., None]).sum(dim=1).cpu())

    windows = (next(texts[number].windows()) for number in by_length)
    # `batched` sets windows of full length apart. To it none is, so that all come back in the order they went in.
    batches = list(batched(windows, window=reader.window + 1, bos_id=reader.language_model.bos_id))
    with FORWARDS.job("Reading the residual stream", len(batches)) as job:
        for _ in run(batches, reader.language_model, [layer], stream_sinks=[keep], turn=job.turn):
            pass
    return torch.cat(means).numpy()[np.argsort(by_length)]


def _score(
    read: str, n_columns: int | None, model: BaseEstimator, rows: np.ndarray, answers: np.ndarray
) -> dict[str, Any]:
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=_SEED)
    predicted = cross_val_predict(model, rows, answers, cv=folds)
    each = [f1_score(answers[out], predicted[out], average="weighted") for _, out in folds.split(rows, answers)]
    return {"read": read, "n_columns": n_columns, "f1": float(np.mean(each)), "deviation": float(np.std(each))}


def _probe_of(fitted: Any, both: np.ndarray, reader: SpanReader, labels: LabelTable, bundle: str, saes: str) -> Probe:
    select, scale, regression = (step for _, step in fitted.steps)
    n_features = len(reader.features)
    columns = []
    for place, row in enumerate(both[select.get_support(indices=True)].tolist()):
        feature = reader.features[row % n_features]
        columns.append(
            Column(
                feature.layer,
                feature.index,
                POOLINGS[row // n_features],
                float(scale.mean_[place]),
                float(scale.scale_[place]),
                labels.name(feature),
                regression.coef_[:, place].tolist(),
            )
        )
    return Probe(bundle, saes, [str(name) for name in regression.classes_], columns, regression.intercept_.tolist())


def read_probe(raw: bytes, name: str) -> Probe:
    """Read a probe from its JSON.

    Args:
        name: of the file, for messages.

    Raises:
        TrackerError: it is no probe.
    """
    if len(raw) > _MOST_BYTES:
        raise TrackerError(f"{name} has {len(raw):,} bytes; a probe has at most {_MOST_BYTES:,}.")
    try:
        probe = TypeAdapter(Probe).validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        raise TrackerError(
            f"{name} is no probe of feature-tracker find ({'.'.join(map(str, first['loc']))}: {first['msg']})."
        ) from None
    n_weights = 1 if len(probe.classes) == 2 else len(probe.classes)
    if len(probe.classes) < 2 or {len(probe.intercept), *(len(c.weights) for c in probe.columns)} != {n_weights}:
        raise TrackerError(f"{name} is no probe: its weights don't fit its {len(probe.classes)} classes.")
    return probe


def apply_probe(
    probe: Probe, sentences: Sequence[str], reader: SpanReader, *, saes: str, progress: Progress = silent
) -> pd.DataFrame:
    """What a probe says of sentences: `text, class`, and a column of probabilities for each class.

    Args:
        saes: fingerprint of the reader's SAEs.

    Raises:
        TrackerError: the probe was fitted on other weights.
    """
    if probe.saes != saes:
        raise TrackerError(
            f"The probe reads the features of {probe.bundle} with weights {probe.saes}; this bundle has {saes}. "
            "Features of other weights are other features: fit the probe again."
        )
    number = {tuple(feature): row for row, feature in enumerate(reader.features)}
    n_features = len(number)
    rows = [number[c.layer, c.feature] + n_features * POOLINGS.index(c.pooling) for c in probe.columns]
    values = pooled(sentences, reader, progress)[:, rows]
    scaled = (values - [c.mean for c in probe.columns]) / [c.deviation for c in probe.columns]
    scores = scaled @ np.array([c.weights for c in probe.columns]).reshape(len(rows), -1) + probe.intercept
    if len(probe.classes) == 2:
        second = 1 / (1 + np.exp(-scores))
        shares = np.concatenate([1 - second, second], axis=1)
    else:
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
    table = pd.DataFrame({"text": list(sentences), "class": [probe.classes[i] for i in shares.argmax(axis=1)]})
    return table.assign(**{f"p_{name}": shares[:, i] for i, name in enumerate(probe.classes)})


def labelled_sentences(columns: Mapping[str, Sequence[str]], name: str) -> tuple[list[str], list[str]]:
    """The sentences and labels of a CSV file's columns: `text` or `sentence`, and `label`, with any capitals.

    Args:
        name: of the file, for messages.

    Raises:
        TrackerError: a column is missing, or it has no rows.
    """
    by_name = {column.strip().casefold(): values for column, values in columns.items()}
    texts = next((by_name[key] for key in ("text", "sentence") if key in by_name), None)
    if texts is None or "label" not in by_name:
        raise TrackerError(
            f"{name} should have the columns text (or sentence) and label; it has {', '.join(columns) or 'none'}."
        )
    rows = [(str(text).strip(), str(label).strip()) for text, label in zip(texts, by_name["label"], strict=True)]
    rows = [row for row in rows if all(row)]
    if not rows:
        raise TrackerError(f"{name} has no row with both a text and a label.")
    return [text for text, _ in rows], [label for _, label in rows]
