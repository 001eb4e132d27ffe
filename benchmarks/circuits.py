"""`python -m benchmarks.circuits`: how well estimates predict effects, what circuits carry, what they cost."""

from __future__ import annotations

import gzip
import itertools
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from benchmarks.planted import all_features, bursts, trace_of
from feature_tracker.circuits.circuit import DRAWN, Circuit, Node
from feature_tracker.circuits.contributions import contributions_to
from feature_tracker.circuits.correlation import SIGNIFICANT, correlate, pearson
from feature_tracker.circuits.measure import measured
from feature_tracker.circuits.question import Question, WhatFeeds
from feature_tracker.circuits.trace_back import first_level
from feature_tracker.circuits.where import targets_of
from feature_tracker.feature import Feature
from feature_tracker.page.samples import SAMPLES
from feature_tracker.tracing.recording import Recording
from feature_tracker.tracing.rows import feature_of, rows_of
from feature_tracker.tracing.trace import Trace
from feature_tracker.tracker import Tracker

_N_TEXTS, _N_TOKENS = 5, 200
_N_UPSTREAM, _N_DOWNSTREAM, _N_EDGES = 20, 10, 100
_LAYERS = (4, 10, 16, 22, 28)  # of made-up traces, the built-in bundle's
_MEASURED = ["agreement", "questions", "cost", "correlation", "chance"]


@click.command()
@click.option(
    "--corpus", type=Path, help="A .jsonl.gz file of texts, whose `validation` split is read; without it, the samples."
)
@click.option("--only", type=click.Choice(_MEASURED), help="Measure one thing.")
@click.option("--tokens", type=int, hidden=True, help="Trace one circuit of so many tokens, and print its memory.")
def main(corpus: Path | None, only: str | None, tokens: int | None) -> None:
    """Measure circuits on the built-in model; prints one JSON object."""
    texts = _corpus_texts(corpus) if corpus else _sample_texts()
    if tokens is not None:
        click.echo(json.dumps(_one_circuit(texts, tokens)))
        return
    figures: dict[str, object] = {"threads": torch.get_num_threads()}
    if only in (None, "correlation"):
        figures["correlation"] = time_correlation()
    if only in (None, "chance"):
        figures["planted"] = measure_planted()
    if only in (None, "cost"):
        figures["cost"] = measure_cost(corpus)
    if only in (None, "agreement", "questions", "chance"):
        tracker = Tracker.open()
        recordings = [_record(text, tracker) for text in texts]
        if only in (None, "agreement"):
            figures["agreement"] = measure_agreement(recordings)
        if only in (None, "questions"):
            figures["questions"] = measure_questions(tracker, recordings)
        if only in (None, "chance"):
            figures["shuffled"] = measure_shuffled(recordings)
    click.echo(json.dumps(figures))


def measure_agreement(recordings: Sequence[Recording]) -> dict[str, dict[str, float]]:
    """By pair of layers, how estimates agree with effects: Spearman's correlation, and the share of equal signs.

    Each text gives the edges from its 20 strongest upstream to its 10 strongest downstream features. `spearman` and
    `same_sign` are over the 100 largest edges by the estimate, `..._by_effect` over the 100 largest by effect. Figures
    are medians over the texts.
    """
    names = ("spearman", "same_sign", "spearman_by_effect", "same_sign_by_effect")
    by_pair: dict[str, list[tuple[float, ...]]] = {}
    for recording in recordings:
        for source_layer, target_layer in itertools.pairwise(recording.layers):
            sources = _strongest(recording, source_layer, _N_UPSTREAM)
            question = WhatFeeds(tuple(_strongest(recording, target_layer, _N_DOWNSTREAM)))
            level = first_level(recording, question)
            # Estimates are in the target's own unit where each of its activations counts once.
            weights = {number: (weight > 0).to(weight) for number, weight in level.weights.items()}
            signed = contributions_to(recording, question, level.nodes, weights, source_layer).signed
            estimated = signed[:, [source.index for source in sources]].T.ravel()
            alone = [_alone(number, source) for number, source in enumerate(sources, start=len(level.nodes))]
            real = np.concatenate([effects for _, effects in measured(recording, question, alone, level.nodes)])
            by_estimate = _agreement(estimated, real, np.abs(estimated))
            by_effect = _agreement(estimated, real, np.abs(real))
            by_pair.setdefault(f"{source_layer}-{target_layer}", []).append((*by_estimate, *by_effect))
    medians = {pair: np.median(np.array(rows), axis=0) for pair, rows in by_pair.items()}
    return {
        pair: {name: round(float(median), 3) for name, median in zip(names, medians[pair], strict=True)}
        for pair in medians
    }


def _alone(number: int, feature: Feature) -> Node:
    return Node(number, feature.layer, "features", (feature,), (), 0.0, float("nan"))


def _agreement(estimated: np.ndarray, real: np.ndarray, size: np.ndarray) -> tuple[float, float]:
    """(Spearman's correlation, share of equal signs) over the edges of largest size."""
    largest = np.argsort(-size)[:_N_EDGES]
    spearman = float(np.asarray(spearmanr(estimated[largest], real[largest]))[0])
    return spearman, float((np.sign(estimated[largest]) == np.sign(real[largest])).mean())


def measure_questions(tracker: Tracker, recordings: Sequence[Recording]) -> dict[str, object]:
    """Ten questions: what feeds the most distinctive feature of layers 16 and 28 on its strongest word, in five texts.

    `recovered` is what the kept features bring back alone, `lost_without` what is lost when only they are out.
    `netting` is how much of the effects on single features is left once those on a node's members are added up, signs
    included; `drawn` is the share of all measured effects that edges of the figure hold.
    """
    rows, netting = [], []
    for recording, layer in itertools.product(recordings, (16, 28)):
        feature = feature_of(rows_of(tracker.rank(recording.trace, layers=[layer], top=1))[0])
        question = WhatFeeds((feature,), (recording.trace.peak(feature),))
        circuit = tracker.circuit(recording, question).circuit
        faithfulness = circuit.faithfulness
        if faithfulness is None:
            continue
        lost = circuit.edges["lost"].abs()
        rows.append(
            {
                "layer": layer,
                "recovered": round(faithfulness.recovered, 3),
                "lost_without": round(1 - faithfulness.without, 3),
                "features": len(circuit.members),
                "drawn": round(float(lost[lost >= DRAWN].sum() / lost.sum()), 3),
            }
        )
        netting.append(_netting(recording, question, circuit))
    frame = pd.DataFrame(rows)
    medians = frame.drop(columns="layer").median().round(3).to_dict()
    return {"median": medians | {"netting": round(statistics.median(netting), 3)}, "each": rows}


def _netting(recording: Recording, question: Question, circuit: Circuit) -> float:
    """Of the joint effects of nodes' members on every kept feature, the share that is left after adding up by node."""
    single = merged = 0.0
    for node in circuit.nodes:
        targets = [target for target in targets_of(circuit, node) if target.kind in ("features", "rest")]
        if not node.members or not targets:
            continue
        members = [_alone(target.number, member) for target in targets for member in target.members]
        ((_, effects),) = measured(recording, question, [node], members)
        numbers = np.array([member.number for member in members])
        single += float(np.abs(effects).sum())
        merged += sum(abs(float(effects[numbers == target.number].sum())) for target in targets)
    return merged / single


def measure_cost(corpus: Path | None) -> dict[str, object]:
    """Seconds and peak memory of what feeds a feature, verified, by tokens of the text; a process for each."""
    figures = {}
    for tokens in (200, 500, 5000):
        arguments = ["--tokens", str(tokens), *(["--corpus", str(corpus)] if corpus else [])]
        command = [sys.executable, "-m", "benchmarks.circuits", *arguments]
        figures[tokens] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    ratio = figures[5000]["peak_mb"] / figures[500]["peak_mb"]
    return figures | {"memory_5000_over_500": round(ratio, 2)}


def _one_circuit(texts: Sequence[str], tokens: int) -> dict[str, float]:
    tracker = Tracker.open()
    joined = "\n\n".join(itertools.islice(itertools.cycle(texts), 1 + tokens // 300))
    text = joined[: tracker.tokenize(joined).offsets[tokens - 1, 1]]
    recording = tracker.record(text)
    feature = feature_of(rows_of(tracker.rank(recording.trace, layers=[28], top=1))[0])
    start = time.perf_counter()
    circuit = tracker.circuit(recording, WhatFeeds((feature,))).circuit
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"seconds": round(seconds, 1), "peak_mb": peak, "nodes": len(circuit.nodes), "edges": len(circuit.edges)}


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


def _strongest(recording: Recording, layer: int, n: int) -> list[Feature]:
    totals = recording.trace.layers[layer].dense()[recording.trace.counted].sum(axis=0)
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
