"""`python -m benchmarks.circuits`: how far attribution predicts ablation; what circuits and correlations cost."""

from __future__ import annotations

import gzip
import itertools
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import click
import networkx as nx
import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from benchmarks.alternate import alternate
from benchmarks.planted import all_features, bursts, trace_of
from feature_tracker.bundles.bundle import BUILT_IN, load_bundle
from feature_tracker.circuits.ablation import ablate
from feature_tracker.circuits.attribution import attribute
from feature_tracker.circuits.correlation import SIGNIFICANT, correlate, pearson
from feature_tracker.circuits.paths import Node, strongest_paths
from feature_tracker.feature import Feature
from feature_tracker.model.hooks import read_residuals, replaced_residual
from feature_tracker.model.load import LanguageModel, load_model
from feature_tracker.model.tokens import tokenize
from feature_tracker.page.samples import SAMPLES
from feature_tracker.sae.load import load_saes
from feature_tracker.sae.topk import Sae, TopK
from feature_tracker.tracing.recording import Recording, record
from feature_tracker.tracing.trace import LayerTrace, Trace

_TEXTS, _TOKENS = 5, 200
_UPSTREAM, _DOWNSTREAM, _EDGES = 20, 10, 100


@click.command()
@click.option(
    "--corpus", type=Path, help="Text with splits, a .jsonl.gz file; `validation` is read. Else: the samples."
)
@click.option(
    "--only", type=click.Choice(["agreement", "ablation", "correlation", "paths", "chance"]), help="Measure one thing."
)
def main(corpus: Path | None, only: str | None) -> None:
    """Measure circuits on the built-in model; prints one JSON object."""
    bundle = load_bundle(BUILT_IN)
    figures: dict[str, object] = {"threads": torch.get_num_threads()}
    if only in (None, "correlation"):
        figures["correlation"] = time_correlation()
    if only in (None, "paths"):
        figures["paths"] = time_paths()
    if only in (None, "chance"):
        figures["planted"] = measure_planted()
    if only in (None, "agreement", "ablation", "chance"):
        language_model = load_model(bundle, dtype="float32")
        saes = load_saes(bundle.sae_folder, bundle.layers, d_model=language_model.d_model)
        recordings = [_record(text, language_model, saes) for text in (_real_texts(corpus) if corpus else _samples())]
        if only in (None, "agreement"):
            figures["agreement"] = measure_agreement(recordings)
        if only in (None, "chance"):
            figures["shuffled"] = measure_shuffled(recordings)
        if only in (None, "ablation"):
            figures["ablation"] = time_ablation(recordings[0], language_model)
    click.echo(json.dumps(figures))


def measure_agreement(recordings: Sequence[Recording]) -> dict[str, dict[str, float]]:
    """By pair of layers: Spearman's correlation and share of equal signs between attribution and ablation.

    On the 100 largest edges by attribution (`spearman`, `same_sign`) and by effect (`..._by_effect`), of all texts' 20
    strongest upstream by 10 strongest downstream features; the median over the texts.
    """
    found: dict[str, list[tuple[float, ...]]] = {}
    for recording in recordings:
        top = {layer: _strongest(recording, layer, _UPSTREAM) for layer in recording.layers}
        effects = {done.source: done.effects for done in ablate(recording, list(itertools.chain(*top.values())))}
        for target_layer in recording.layers[1:]:
            targets = top[target_layer][:_DOWNSTREAM]
            attribution = attribute(recording, targets)
            for layer, own in attribution.upstream.items():
                sources = top[layer]
                estimated = own.by_feature()[:, [source.index for source in sources]].T.ravel()
                real = np.array([[effects[s][target_layer][t.index] for t in targets] for s in sources]).ravel()
                found.setdefault(f"{layer}-{target_layer}", []).append(
                    (*_agreement(estimated, real, np.abs(estimated)), *_agreement(estimated, real, np.abs(real)))
                )
    names = ("spearman", "same_sign", "spearman_by_effect", "same_sign_by_effect")
    return {
        pair: {
            name: round(float(np.median(column)), 3)
            for name, column in zip(names, zip(*rows, strict=True), strict=True)
        }
        for pair, rows in found.items()
    }


def _agreement(estimated: np.ndarray, real: np.ndarray, size: np.ndarray) -> tuple[float, float]:
    largest = np.argsort(-size)[:_EDGES]
    rank = np.asarray(spearmanr(estimated[largest], real[largest]))[0]
    return float(rank), float((np.sign(estimated[largest]) == np.sign(real[largest])).mean())


def time_ablation(recording: Recording, language_model: LanguageModel) -> dict[str, float]:
    """20 ablations, five of each layer but the last, against the same done by one forward from the embeddings each."""
    sources = [source for layer in recording.layers[:-1] for source in _strongest(recording, layer, 5)]
    (ids,) = list(recording.trace.tokens.windows())
    row = torch.from_numpy(np.concatenate([[language_model.bos_id], ids]))[None]

    def from_the_layer() -> None:
        list(ablate(recording, sources))

    def from_the_embeddings() -> None:
        for source in sources:
            with replaced_residual(
                language_model.decoder, source.layer, _taking_out(recording.saes[source.layer], source)
            ):
                read_residuals(
                    language_model.decoder, row, [layer for layer in recording.layers if layer > source.layer],
                    lambda layer, resid: recording.saes[layer].encode(resid[:, 1:]) and None,
                )  # fmt: skip

    timed = alternate({"layer": from_the_layer, "embeddings": from_the_embeddings}, rounds=5)
    ratios = [b / a for a, b in zip(timed["layer"], timed["embeddings"], strict=True)]
    return {
        "tokens": len(ids),
        "from_the_layer_s": round(statistics.median(timed["layer"]), 2),
        "from_the_embeddings_s": round(statistics.median(timed["embeddings"]), 2),
        "times_faster": round(statistics.median(ratios), 2),
    }


def _taking_out(sae: Sae, source: Feature):  # noqa: ANN202, a `ReplaceResid`
    def replace(resid: torch.Tensor) -> torch.Tensor:
        top = sae.encode(resid)
        only = TopK(torch.where(top.indices == source.index, top.values, 0), top.indices)
        return resid - (sae.decode(only) - sae.b_dec)

    return replace


def time_correlation(n_features: int = 2000, n_tokens: int = 20_000) -> dict[str, float]:
    """All pairs of columns that fire on 8 % of the tokens, against `pandas.DataFrame.corr`, in one run."""
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
    """Share of runs of independent bursts that give any link with q <= 0.05, and of planted links of r = 0.5 found."""
    found: dict[str, float] = {}
    for rho, density in ((0.0, 0.3), (0.5, 0.1), (0.9, 0.1), (0.95, 0.3)):
        false_runs = 0
        for seed in range(n_runs):
            generator = np.random.default_rng([1, seed])
            layers = {
                n: bursts(n_tokens, 6, rho=rho, density=density, generator=generator) for n in (4, 10, 16, 22, 28)
            }
            pairs = correlate(trace_of(layers), all_features(trace_of(layers)), n_shifts=1).pairs
            false_runs += bool((pairs["q"] <= SIGNIFICANT).any())
        found[f"false_runs_rho_{rho:g}_density_{density:g}"] = round(false_runs / n_runs, 3)
    n_found = 0
    for seed in range(n_runs):
        generator = np.random.default_rng([2, seed])
        first, second = (bursts(n_tokens, 10, rho=0.5, density=0.4, generator=generator) for _ in range(2))
        second[:, 0] = first[:, 0] / first[:, 0].std() + np.sqrt(3) * second[:, 0] / second[:, 0].std()
        trace = trace_of({4: first, 10: second})
        pairs = correlate(trace, all_features(trace), n_shifts=1).pairs
        planted = (pairs["source_feature"] == 0) & (pairs["target_feature"] == 0)
        n_found += bool((pairs.loc[planted, "q"] <= SIGNIFICANT).any())
    return found | {"power": round(n_found / n_runs, 3)}


def measure_shuffled(recordings: Sequence[Recording], n_shuffles: int = 60) -> dict[str, float]:
    """Links displayed as chance, over those that texts give whose layers' tokens are shuffled against each other."""
    ratios = {}
    generator = np.random.default_rng(0)
    for threshold in (0.2, 0.3):
        displayed = counted = 0.0
        for recording, _ in itertools.product(recordings, range(n_shuffles)):
            trace = recording.trace
            shuffled = {}
            for layer, own in trace.layers.items():
                order = generator.permutation(trace.n_tokens)
                shuffled[layer] = LayerTrace(layer, own.values[order], own.indices[order], own.n_latents)
            features = [feature for layer in trace.layers for feature in _strongest(recording, layer, 20)]
            found = correlate(Trace(trace.tokens, shuffled), features)
            displayed += found.chance(threshold)
            counted += len(found.links(threshold))
        ratios[f"displayed_to_counted_at_{threshold:g}"] = round(displayed / counted, 3)
    return ratios


def time_paths(n_layers: int = 5, width: int = 200, k: int = 10) -> dict[str, float]:
    """The k strongest paths of a layered graph in which every feature is linked to all of the next layer."""
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


def _record(text: str, language_model: LanguageModel, saes: dict[int, Sae]) -> Recording:
    tokens = tokenize(text, language_model.tokenizer, window=512, max_tokens=20_000)
    cut = text[: tokens.offsets[_TOKENS - 1, 1]]
    return record(tokenize(cut, language_model.tokenizer, window=512, max_tokens=512), language_model, saes)


def _samples() -> list[str]:
    """The page's sample texts, joined to five that are long enough."""
    samples = list(SAMPLES.values())
    return ["\n\n".join(samples[first::_TEXTS]) for first in range(_TEXTS)]


def _real_texts(corpus: Path) -> list[str]:
    """The first held-out text of each of five kinds of source, from its middle."""
    found: dict[str, str] = {}
    with gzip.open(corpus, "rt", encoding="utf-8") as lines:
        for line in lines:
            document = json.loads(line)
            text = document["text"]
            if document["split"] == "validation" and len(text) > 4000 and document["source"] not in found:
                found[document["source"]] = text[len(text) // 2 :][:3000]
            if len(found) == _TEXTS:
                break
    return list(found.values())


if __name__ == "__main__":
    main()
