"""A text run once through the model, kept so that its upper blocks can be run again on a changed residual stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from feature_tracker.model.load import LanguageModel
from feature_tracker.model.replay import Replay, record_window
from feature_tracker.model.tokens import TokenizedText
from feature_tracker.progress import Progress, silent
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.run import layer_trace, on_host
from feature_tracker.tracing.trace import Trace


@dataclass(frozen=True)
class Recording:
    """Every window of a text, recorded at the SAE layers.

    Attributes:
        trace: the top-k activations of this very run. They differ from those of a trace made in bfloat16.
        windows: one `Replay` a window.
        starts: first token of each window, BOS not counted.
        saes: by layer, float32.
    """

    trace: Trace
    windows: tuple[Replay, ...]
    starts: tuple[int, ...]
    saes: Mapping[int, Sae]

    @property
    def layers(self) -> list[int]:
        """SAE layers, ascending."""
        return sorted(self.trace.layers)

    def tokens_of(self, window: int) -> slice:
        """The text's tokens in a window."""
        start = self.starts[window]
        n_tokens = len(self.windows[window].resid[self.layers[0]]) - 1
        return slice(start, start + n_tokens)


def part_of(tokens: TokenizedText, first: int, n_windows: int) -> TokenizedText:
    """Some windows of a text as a text of their own.

    Args:
        first: the first window that is taken.
        n_windows: at most so many.
    """
    start = tokens.window_starts[first]
    stop = min(start + n_windows * (tokens.window - 1), tokens.n_tokens)
    begin = int(tokens.offsets[start, 0])
    end = int(tokens.offsets[stop, 0]) if stop < tokens.n_tokens else len(tokens.text)
    return TokenizedText(
        tokens.text[begin:end],
        tokens.ids[start:stop],
        tokens.offsets[start:stop] - begin,
        tokens.window,
        is_cut=tokens.is_cut or start > 0,
    )


def record(
    tokens: TokenizedText, language_model: LanguageModel, saes: Mapping[int, Sae], progress: Progress = silent
) -> Recording:
    """Run a text once and keep the residual streams of the SAE layers.

    Args:
        language_model: load it in float32 where that fits. An ablation changes some activations by less than bfloat16
            can tell apart.
    """
    layers = sorted(saes)
    device = language_model.model.device
    windows, encoded = [], {layer: [] for layer in layers}
    for done, ids in enumerate(tokens.windows()):
        progress("Reading the text", done / len(tokens.window_starts))
        row = torch.from_numpy(np.concatenate([[language_model.bos_id], ids])).to(device)
        windows.append(record_window(language_model.decoder, row, layers))
        for layer in layers:
            encoded[layer].append(on_host(saes[layer].encode(windows[-1].resid[layer][1:])))
    progress("Reading the text", 1.0)
    traced = {layer: layer_trace(layer, saes[layer], encoded[layer]) for layer in layers}
    return Recording(Trace(tokens, traced), tuple(windows), tokens.window_starts, dict(saes))
