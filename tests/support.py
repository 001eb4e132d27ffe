"""Places, texts and small made-up things that tests of several rooms share."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.corpus.documents import Windows
from feature_tracker.labels.columns import SHOWN
from feature_tracker.labels.table import LabelTable
from feature_tracker.model.load import LanguageModel
from feature_tracker.model.tokens import TokenizedText
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.trace import LayerTrace, Trace

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
"""The text corpus and label files that lie beside the project, where they do."""

SENTENCES = (
    "The central bank raised its policy rate by a quarter point as inflation stayed above target. "
    "Net sales rose 5.4% to $1,234 million, and operating margin widened. "
    "Credit spreads tightened after the company repaid its term loan. "
) * 3


HOSTILE = (
    "<script>alert('x')</script>",
    "<b>bold</b> &amp; <a href='javascript:x'>link</a>",
    "cost $x^2$ of $100",
    "line one\nline two\ttab",
    "nul \x00 and override \u202e txt.exe",
    "שיעורי ריבית",
    "😀 👩‍👩‍👧 emoji",
    "",
    "a very long label " * 30,
    "%{customdata[0]} {x}",
)
"""Labels that would do harm where they are taken for markup, links or formulas."""


def random_sae(d_model: int, *, n_latents: int = 40, k: int = 6, seed: int = 0) -> Sae:
    """An SAE of random weights, its decoder the transposed encoder with unit rows."""
    generator = torch.Generator().manual_seed(seed)
    encoder = torch.randn(n_latents, d_model, generator=generator)
    bias = 0.1 * torch.randn(n_latents, generator=generator)
    b_dec = 0.1 * torch.randn(d_model, generator=generator)
    return Sae(encoder, bias, torch.nn.functional.normalize(encoder, dim=1), b_dec, k)


def made_up_windows(n_windows: int, window: int, *, bos_id: int = 0) -> Windows:
    """Windows of random tokens of the tiny model: finance and general in turns, two to a document."""
    token_ids = np.random.default_rng(0).integers(1, 300, (n_windows, window)).astype(np.int32)
    token_ids[:, 0] = bos_id
    number = np.arange(n_windows, dtype=np.int32)
    return Windows(token_ids, number % 2 == 0, number // 2, number % 2, ("even", "odd"))


def tiny_labels(bundle: Bundle, n_latents: int) -> LabelTable:
    index = pd.MultiIndex.from_product([bundle.layers, range(n_latents)], names=["layer", "feature"])
    generator = np.random.default_rng(0)
    f1 = generator.uniform(0.4, 1.0, len(index))
    f1[::7] = np.nan
    frame = pd.DataFrame(
        {
            "label": [f"<b>label</b> $x$ **{layer}** {feature}" for layer, feature in index],
            "f1": f1,
            "precision": f1,
            "recall": f1,
            "balanced_accuracy": f1,
            "n_positive": 100,
            "n_negative": 100,
            "f1_method": "detection",
            "specialization": 0.01,
            "specialization_index": generator.uniform(-1, 1, len(index)),
            "finance_mean": 0.1,
            "general_mean": 0.1,
            "finance_tokens": 1000,
            "general_tokens": 1000,
            "density": 0.15,
            "mean_activation": 1.0,
            "max_activation": 4.0,
            "q50": 1.0,
            "q90": 2.0,
            "q99": 3.0,
            "window_mean": 0.15,
            "window_sd": 0.05,
            "window_sd_64": 0.08,
        },
        index=index,
    )
    return LabelTable(frame)


def make_ranked(layers: tuple[int, ...], n: int, *, seed: int = 0) -> pd.DataFrame:
    """A table as `rank_features` returns it: `n` features a layer, best first, their labels hostile."""
    generator = np.random.default_rng(seed)
    rows = [
        {column.name: column.missing for column in SHOWN}
        | {
            "layer": layer,
            "feature": 10 * place + layer,
            "label": HOSTILE[place % len(HOSTILE)],
            "f1": (np.nan, 0.5, 0.9)[place % 3],
            "precision": 0.8,
            "recall": 0.7,
            "balanced_accuracy": 0.75,
            "f1_always_yes": 2 / 3,
            "n_positive": 1000.0,
            "n_negative": 900.0,
            "n_unanswered": np.nan,
            "mark": ("not scored", "no better than always yes", "")[place % 3],
            "reliable": place % 3 == 2,
            "specialization": 0.01,
            "specialization_index": float(generator.uniform(-1, 1)),
            "density": 0.1,
            "activation": float(n - place),
            "distinctiveness": 5.0 - place / 2,
            "chance_alone": 0.01 * (place + 1),
            "chance": 0.5 * (place + 1),
            "rarity": 100.0 / (place + 1),
            "is_rarest": place == 0,
            "peak_position": place,
            "peak_word": HOSTILE[(place + 1) % len(HOSTILE)],
            "peak_excerpt": HOSTILE[(place + 2) % len(HOSTILE)],
        }
        for layer in layers
        for place in range(n)
    ]
    columns = (
        list(rows[0]) if rows else ["layer", "feature", "label", "reliable", "activation", "distinctiveness", "rarity"]
    )
    return pd.DataFrame(rows, columns=columns)


def write_index(folder: Path, **more: str) -> None:
    """Write the index of a folder's shards of weights.

    Args:
        more: by tensor, further files that it names.
    """
    shards = sorted(folder.glob("model-*.safetensors"))
    weight_map = {name: shard.name for shard in shards for name in load_file(shard)} | more
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


class Interrupted(Exception):
    """Stands for anything that ends a run before its time."""


@contextmanager
def interrupted_after(forwards: int, model: LanguageModel) -> Generator[None]:
    """Let the model run so many batches, then interrupt it."""
    n_run = 0

    def interrupt(_module: torch.nn.Module, _args: object) -> None:
        nonlocal n_run
        n_run += 1
        if n_run > forwards:
            raise Interrupted

    hook = model.decoder.layers[0].register_forward_pre_hook(interrupt)
    try:
        yield
    finally:
        hook.remove()


def trace_of(text_words: Sequence[str], fires: dict[tuple[int, int], dict[str, float]]) -> Trace:
    """A trace in which features (layer, index) of ten latents fire on words of this text."""
    pieces = [text_words[0], *(word if word == "." else f" {word}" for word in text_words[1:])]
    ends = np.cumsum([len(piece) for piece in pieces])
    offsets = np.stack([ends - [len(piece) for piece in pieces], ends], axis=1)
    layers = {}
    for layer in (4, 10, 16):
        dense = np.zeros((len(text_words), 10), np.float32)
        for (at, index), words in fires.items():
            if at == layer:
                for word, value in words.items():
                    dense[text_words.index(word), index] = value
        indices = np.tile(np.arange(10, dtype=np.int32), (len(text_words), 1))
        layers[layer] = LayerTrace(layer, dense, indices, 10)
    return Trace(TokenizedText("".join(pieces), np.arange(len(text_words)), offsets, 512), layers)
