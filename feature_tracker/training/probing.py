"""k-sparse probing: how well a few latents tell what a text is about, against the residual stream that they read.

A text's row is the mean over its tokens, BOS and attention sinks left out. A probe is a logistic regression on the k
columns whose means differ most between the two answers. With k = 1 it asks whether one latent is the answer; with
k = 16, whether a few are; with all columns, whether the answer is there at all. The stream's own dimensions say what
the latents must beat for small k, and what they can keep at most for all.

Activations are compared within a column only, so the norms of decoder rows don't matter here.

Sources: Gurnee et al. 2023, Finding Neurons in a Haystack (columns chosen by the difference of means); Kantamneni et
al. 2025, Are Sparse Autoencoders Useful? A Case Study in Sparse Probing; Karvonen et al. 2025, SAEBench (means over
tokens).
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, cast

import numpy as np
import torch

from feature_tracker.model.load import LanguageModel
from feature_tracker.model.tokens import tokenize
from feature_tracker.progress import Progress, silent
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.attention_sinks import attention_sinks
from feature_tracker.tracing.run import Batch, batched, run
from feature_tracker.training.probe_texts import LabelledTexts

STREAM = "stream"
"""Source of the scores of the residual stream itself."""

KS = (1, 16, None)
"""How many columns a probe uses; `None` is all of them."""

_FOLDS = 4
_PENALTIES = (1e-4, 1e-3, 1e-2, 0.1, 1.0)
"""scikit-learn's C. With more columns than texts the best is near the smallest, with one column any will do."""


class ProbeScore(NamedTuple):
    """How well one probe tells the answer on texts that it was not fitted on.

    Attributes:
        layer: 0-based block.
        source: `STREAM`, or the name of a set of SAEs.
        k: number of columns used; `None` for all.
        task: name of the task.
        auc: area under the ROC curve: how often a text whose answer is yes scores above one whose answer is no. 0.5 is
            chance.
        n_train: texts that the probe was fitted on.
        n_test: texts that it was scored on.
    """

    layer: int
    source: str
    k: int | None
    task: str
    auc: float
    n_train: int
    n_test: int


def probe_saes(
    language_model: LanguageModel,
    sae_sets: Mapping[str, Mapping[int, Sae]],
    tasks: Sequence[LabelledTexts],
    *,
    window: int,
    progress: Progress = silent,
) -> list[ProbeScore]:
    """Score the stream and every set of SAEs on every task, in one pass of the texts through the model.

    Args:
        sae_sets: SAEs by layer, by the name of their set. A layer is scored with the sets that have it.
        window: longest window, BOS included; what a text has beyond it is not read.
    """
    scores: list[ProbeScore] = []
    for done, task in enumerate(tasks):
        progress(f"Probing for {task.task}", done / len(tasks))
        means = mean_activations(task.texts, language_model, sae_sets, window=window)
        n_train = int(task.train.sum())
        scores += [
            ProbeScore(layer, source, k, task.task, probe_auc(rows, task, k), n_train, len(task.texts) - n_train)
            for (layer, source), rows in means.items()
            for k in KS
        ]
    return scores


def mean_activations(
    texts: Sequence[str], language_model: LanguageModel, sae_sets: Mapping[str, Mapping[int, Sae]], *, window: int
) -> dict[tuple[int, str], np.ndarray]:
    """Means over each text's tokens by layer and source: (n_texts, d_model or n_latents) float32, in text order."""
    windows = [_first_window(text, language_model, window) for text in texts]
    by_length = sorted(range(len(texts)), key=lambda text: len(windows[text]))  # little padding
    layers = sorted({layer for saes in sae_sets.values() for layer in saes})
    on_device = {
        (layer, name): sae.to(language_model.layer_device(layer))
        for name, saes in sae_sets.items()
        for layer, sae in saes.items()
    }
    parts: defaultdict[tuple[int, str], list[torch.Tensor]] = defaultdict(list)

    def keep(layer: int, resid: torch.Tensor, batch: Batch) -> None:
        tokens = resid[:, batch.first :].float()
        counted = ~attention_sinks(tokens, batch.is_token)
        if batch.is_token is not None:
            counted &= batch.is_token.to(counted.device)
        share = counted[..., None] / counted.sum(dim=1)[:, None, None]  # each token's part in the mean
        parts[layer, STREAM].append((tokens * share).sum(dim=1).cpu())
        for (sae_layer, name), sae in on_device.items():
            if sae_layer == layer:
                values, indices = sae.encode(tokens)
                sums = values.new_zeros(len(tokens), sae.n_latents)
                sums.scatter_add_(1, indices.flatten(1), (values * share).flatten(1))
                parts[layer, name].append(sums.cpu())

    # `batched` sets windows of full length apart. To it none is, so that all come back in the order they went in.
    batches = batched((windows[text] for text in by_length), window=window + 1, bos_id=language_model.bos_id)
    for _ in run(batches, language_model, layers, stream_sinks=[keep]):
        pass
    place = np.argsort(by_length)
    return {key: torch.cat(rows).numpy()[place] for key, rows in parts.items()}


def _first_window(text: str, language_model: LanguageModel, window: int) -> np.ndarray:
    return next(tokenize(text, language_model.tokenizer, window=window, max_tokens=sys.maxsize).windows())


def probe_auc(rows: np.ndarray, task: LabelledTexts, k: int | None) -> float:
    """Fit a probe on k columns of one half of the texts' rows (n_texts, n_columns), and its AUC on the other half.

    Columns and penalty are chosen on the first half alone, the penalty by cross-validation.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    columns = most_different(rows[task.train], task.positive[task.train])[:k]
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        {"logisticregression__C": _PENALTIES},
        scoring="roc_auc",
        cv=_FOLDS,
    )
    search.fit(rows[task.train][:, columns], task.positive[task.train])
    return cast(float, search.score(rows[~task.train][:, columns], task.positive[~task.train]))


def most_different(rows: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Columns of rows (n, n_columns) by the difference of their means between the answers, largest first.

    The difference is in standard deviations of the column; a column that never changes comes last.
    """
    difference = np.abs(rows[positive].mean(axis=0) - rows[~positive].mean(axis=0))
    deviation = rows.std(axis=0)
    return np.argsort(-np.divide(difference, deviation, out=np.zeros_like(difference), where=deviation > 0))


def probe_table(scores: Sequence[ProbeScore], by: Literal["layer", "task"]) -> str:
    """Mean AUC of each source and k as a Markdown table: a row a layer (mean over tasks), or a task (over layers)."""
    cells: defaultdict[tuple[int | str, str, int | None], list[float]] = defaultdict(list)
    for score in scores:
        cells[score.layer if by == "layer" else score.task, score.source, score.k].append(score.auc)
    names = list(dict.fromkeys(name for name, _, _ in cells))
    columns = list(dict.fromkeys((source, k) for _, source, k in cells))
    heads = [f"{source}, {'all' if k is None else f'k = {k}'}" for source, k in columns]
    lines = [f"| {by} | {' | '.join(heads)} |", "|---" * (len(columns) + 1) + "|"]
    for name in names:
        aucs = [f"{np.mean(cell):.3f}" if (cell := cells.get((name, *column))) else "–" for column in columns]
        lines.append(f"| {name} | {' | '.join(aucs)} |")
    return "\n".join(lines)
