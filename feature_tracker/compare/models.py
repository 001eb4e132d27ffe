"""Compare two models of one architecture, such as a base and a finetuned one, by the features of the same SAEs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from feature_tracker.compare.align import sentences_of
from feature_tracker.compare.strengths import SpanReader
from feature_tracker.compare.texts import changed_features
from feature_tracker.errors import TrackerError
from feature_tracker.progress import Progress, silent


def compare_models(text: str, before: SpanReader, after: SpanReader, *, progress: Progress = silent) -> pd.DataFrame:
    """How much more each feature fires in the second model on a text's sentences, each read alone.

    Args:
        before, after: read with the two models, the same SAEs and one scale.

    Returns:
        What `Comparison.features` holds: before and after are the models, and sentences are resampled.

    Raises:
        TrackerError: the text has no words.
    """
    sentences = sentences_of(text)
    if not sentences:
        raise TrackerError("The text has no words. Put in a text to read with the two models.")
    texts = [sentence.text for sentence in sentences]
    sums, counted = [], []
    for reader in (before, after):
        traces = reader.trace(texts, progress)
        counted.append([len(traces[text].counted) for text in texts])
        sums.append([reader.mean_strengths(traces[text]) * len(traces[text].counted) for text in texts])
    return changed_features(before.features, np.array(sums).swapaxes(0, 1), np.array(counted, np.float32).T)
