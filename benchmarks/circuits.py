"""`python -m benchmarks.circuits`: how well attribution predicts ablation; what circuits and correlations cost."""

from __future__ import annotations

import gzip
import itertools
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import networkx as nx
import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from benchmarks.alternate import alternate
from benchmarks.planted import all_features, bursts, trace_of
from feature_tracker.circuits.ablation import ablate
from feature_tracker.circuits.attribution import attribute
from feature_tracker.circuits.correlation import SIGNIFICANT, correlate, pearson
from feature_tracker.circuits.paths import Node, strongest_paths
from feature_tracker.feature import Feature
from feature_tracker.model.hooks import ReplaceResid, read_residuals, replaced_residual
from feature_tracker.model.load import LanguageModel
from feature_tracker.page.samples import SAMPLES
from feature_tracker.sae.topk import Sae, TopK
from feature_tracker.tracing.recording import Recording
from feature_tracker.tracing.trace import Trace
from feature_tracker.tracker import Tracker

_N_TEXTS, _N_TOKENS = 5, 200
_N_UPSTREAM, _N_DOWNSTREAM, _N_EDGES = 20, 10, 100
_LAYERS = (4, 10, 16, 22, 28)  # of made-up traces, the built-in bundle's


@click.command()
@click.option(
    "--corpus", type=Path, help="A .jsonl.gz file of texts, whose `validation` split is read; without it, the samples."
)
@click.option(
    "--only", type=click.Choice(["agreement", "ablation", "correlation", "paths", "chance"]), help="Measure one thing."
)
def main(corpus: Path | None, only: str | None) -> None:
    """Measure circuits on the built-in model; prints one JSON object."""
    figures: dict[str, object] = {"threads": torch.get_num_threads()}
    if only in (None, "correlation"):
        figures["correlation"] = time_correlation()
    if only in (None, "paths"):
        figures["paths"] = time_paths()
    if only in (None, "chance"):
        figures["planted"] = measure_planted()
    if only in (None, "agreement", "ablation", "chance"):
        tracker = Tracker.open()
        recordings = [_record(text, tracker) for text in (_corpus_texts(corpus) if corpus else _sample_texts())]
        if only in (None, "agreement"):
            figures["agreement"] = measure_agreement(recordings)
        if only in (None, "chance"):
            figures["shuffled"] = measure_shuffled(recordings)
        if only in (None, "ablation"):
            figures["ablation"] = time_ablation(recordings[0], tracker.exact_model())
    click.echo(json.dumps(figures))


def measure_agreement(recordings: Sequence[Recording]) -> dict[str, dict[str, float]]:
    """By pair of layers, how attribution agrees with ablation: Spearman's correlation, and the share of equal signs.

    Each text gives the edges from its 20 strongest upstream to its 10 strongest downstream features. `spearman` and
    `same_sign` are over the 100 largest edges by attribution, `..._by_effect` over the 100 largest by effect. Figures
    are medians over the texts.
    """
    names = ("spearman", "same_sign", "spearman_by_effect", "same_sign_by_effect")
    by_pair: dict[str, list[tuple[float, ...]]] = {}
    for recording in recordings:
        strongest = {layer: _strongest(recording, layer, _N_UPSTREAM) for layer in recording.layers}
        sources = list(itertools.chain(*strongest.values()))
        effects = {ablation.source: ablation.effects for ablation in ablate(recording, sources)}
        for target_layer in recording.layers[1:]:
            targets = strongest[target_layer][:_N_DOWNSTREAM]
            for source_layer, attribution in attribute(recording, targets).upstream.items():
                upstream = strongest[source_layer]
                estimated = attribution.by_feature()[:, [source.index for source in upstream]].T.ravel()
                real = np.array([[effects[s][target_layer][t.index] for t in targets] for s in upstream]).ravel()
                by_attribution = _agreement(estimated, real, np.abs(estimated))
                by_effect = _agreement(estimated, real, np.abs(real))
                by_pair.setdefault(f"{source_layer}-{target_layer}", []).append((*by_attribution, *by_effect))
    medians = {pair: np.median(np.array(rows), axis=0) for pair, rows in by_pair.items()}
    return {
        pair: {name: round(float(median), 3) for name, median in zip(names, medians[pair], strict=True)}
        for pair in medians
    }


def _agreement(estimated: np.ndarray, real: np.ndarray, size: np.ndarray) -> tuple[float, float]:
    """(Spearman's correlation, share of equal signs) over the edges of largest size."""
    largest = np.argsort(-size)[:_N_EDGES]
    spearman = float(np.asarray(spearmanr(estimated[largest], real[largest]))[0])
    return spearman, float((np.sign(estimated[largest]) == np.sign(real[largest])).mean())


def time_ablation(recording: Recording, language_model: LanguageModel) -> dict[str, float]:
    """20 ablations, five of each layer but the last, against one forward from the embeddings for each."""
    sources = [source for layer in recording.layers[:-1] for source in _strongest(recording, layer, 5)]
    (ids,) = list(recording.trace.tokens.windows())
    row = torch.from_numpy(np.concatenate([np.array([language_model.bos_id], np.int64), ids]))[None]

    def from_the_layer() -> None:
        list(ablate(recording, sources))

    def encode(layer: int, resid: torch.Tensor) -> None:
        recording.saes[layer].encode(resid[:, 1:])

    def from_the_embeddings() -> None:
        for source in sources:
            deeper = [layer for layer in recording.layers if layer > source.layer]
            remove = _removing(recording.saes[source.layer], source)
            with replaced_residual(language_model.decoder, source.layer, remove):
                read_residuals(language_model.decoder, row, deeper, encode)

    timed = alternate({"layer": from_the_layer, "embeddings": from_the_embeddings}, rounds=5)
    ratios = [b / a for a, b in zip(timed["layer"], timed["embeddings"], strict=True)]
    return {
        "tokens": len(ids),
        "from_the_layer_s": round(statistics.median(timed["layer"]), 2),
        "from_the_embeddings_s": round(statistics.median(timed["embeddings"]), 2),
        "times_faster": round(statistics.median(ratios), 2),
    }


def _removing(sae: Sae, source: Feature) -> ReplaceResid:
    def remove(resid: torch.Tensor) -> torch.Tensor:
        top = sae.encode(resid)
        only = TopK(torch.where(top.indices == source.index, top.values, 0), top.indices)
        return resid - (sae.decode(only) - sae.b_dec)

    return remove


def time_correlation(n_features: int = 2000, n_tokens: int = 20_000) -> dict[str, float]:
    """All pairs of columns that are positive on 8 % of the tokens, against `pandas.DataFrame.corr`, in one run."""
    generator = np.random.default_rng(0)
    columns = np.maximum(generator.standard_normal((n_tokens, n_features)) - 1.4, 0)
    ours = []
    for _ in range(3):
        start = time.perf_counter()
        pearson(columns, columns)
        ours.append(time.perf_counter() - start)
    start = time.perf_counter()
    expected = pd.DataFrame(columns).corr().to_numpy()
    pandas_s = time.perf_counter() - start
    return {
        "features": n_features,
        "tokens": n_tokens,
        "all_pairs_s": round(statistics.median(ours), 2),
        "pandas_s": round(pandas_s, 1),
        "times_faster": round(pandas_s / statistics.median(ours), 1),
        "largest_difference": float(np.abs(pearson(columns, columns) - expected).max()),
    }


def measure_planted(n_runs: int = 300, n_tokens: int = 400) -> dict[str, float]:
    """How often chance is taken for a link (q <= 0.05), and how often a planted link of r = 0.5 is found.

    `false_runs_...` is the share of runs of independent bursts with any significant link.
    """
    figures: dict[str, float] = {}
    for rho, density in ((0.0, 0.3), (0.5, 0.1), (0.9, 0.1), (0.95, 0.3)):
        n_false = 0
        for seed in range(n_runs):
            generator = np.random.default_rng([1, seed])
            trace = trace_of({n: bursts(n_tokens, 6, rho=rho, density=density, generator=generator) for n in _LAYERS})
            pairs = correlate(trace, all_features(trace), n_shifts=1).pairs
            n_false += bool((pairs["q"] <= SIGNIFICANT).any())
        figures[f"false_runs_rho_{rho:g}_density_{density:g}"] = round(n_false / n_runs, 3)
    n_found = 0
    for seed in range(n_runs):
        generator = np.random.default_rng([2, seed])
        first, second = (bursts(n_tokens, 10, rho=0.5, density=0.4, generator=generator) for _ in range(2))
        # One part shared and sqrt(3) parts independent of the same variance: r = 1 / sqrt(1 + 3).
        second[:, 0] = first[:, 0] / first[:, 0].std() + np.sqrt(3) * second[:, 0] / second[:, 0].std()
        trace = trace_of({4: first, 10: second})
        pairs = correlate(trace, all_features(trace), n_shifts=1).pairs
        planted = (pairs["source_feature"] == 0) & (pairs["target_feature"] == 0)
        n_found += bool((pairs.loc[planted, "q"] <= SIGNIFICANT).any())
    return figures | {"power": round(n_found / n_runs, 3)}


def measure_shuffled(recordings: Sequence[Recording], n_shuffles: int = 60) -> dict[str, float]:
    """The number of links said to be chance, relative to the number in texts whose layers are shuffled apart."""
    ratios = {}
    generator = np.random.default_rng(0)
    for threshold in (0.2, 0.3):
        displayed = counted = 0.0
        for recording, _ in itertools.product(recordings, range(n_shuffles)):
            trace = recording.trace
            shuffled = {}
            for layer, layer_trace in trace.layers.items():
                order = generator.permutation(trace.n_tokens)
                shuffled[layer] = replace(
                    layer_trace, values=layer_trace.values[order], indices=layer_trace.indices[order]
                )
            features = [feature for layer in trace.layers for feature in _strongest(recording, layer, 20)]
            correlations = correlate(Trace(trace.tokens, shuffled), features)
            displayed += correlations.chance(threshold)
            counted += len(correlations.links(threshold))
        ratios[f"displayed_to_counted_at_{threshold:g}"] = round(displayed / counted, 3)
    return ratios


def time_paths(n_layers: int = 5, width: int = 200, k: int = 10) -> dict[str, float]:
    """The k strongest paths of a layered graph in which every feature is linked to every one of the next layer."""
    generator = np.random.default_rng(0)
    layers: list[list[Node]] = [[Feature(layer, index) for index in range(width)] for layer in range(n_layers)]
    graph = nx.DiGraph()
    for above, below in itertools.pairwise(layers):
        weights = generator.normal(size=(width, width))
        graph.add_weighted_edges_from(
            (above[row], below[column], weight) for (row, column), weight in np.ndenumerate(weights)
        )

    def find() -> None:
        strongest_paths(graph, layers, k, weight="weight")

    timed = alternate({"paths": find}, rounds=5)
    return {"layers": n_layers, "width": width, "k": k, "seconds": round(statistics.median(timed["paths"]), 3)}


def _strongest(recording: Recording, layer: int, n: int) -> list[Feature]:
    totals = recording.trace.layers[layer].dense().sum(axis=0)
    return [Feature(layer, int(index)) for index in np.argsort(-totals)[:n]]


def _record(text: str, tracker: Tracker) -> Recording:
    return tracker.record(text[: tracker.tokenize(text).offsets[_N_TOKENS - 1, 1]])


def _sample_texts() -> list[str]:
    """The page's sample texts, joined to five that are long enough."""
    samples = list(SAMPLES.values())
    return ["\n\n".join(samples[first::_N_TEXTS]) for first in range(_N_TEXTS)]


def _corpus_texts(corpus: Path) -> list[str]:
    """One held-out text from each of the first five kinds of source in a corpus: 3,000 characters from its middle."""
    texts: dict[str, str] = {}
    with gzip.open(corpus, "rt", encoding="utf-8") as lines:
        for line in lines:
            document = json.loads(line)
            text = document["text"]
            if document["split"] == "validation" and len(text) > 4000 and document["source"] not in texts:
                texts[document["source"]] = text[len(text) // 2 :][:3000]
            if len(texts) == _N_TEXTS:
                break
    return list(texts.values())


if __name__ == "__main__":
    main()
