"""A recorded text: run once, with what it takes to run the upper blocks again on a changed residual stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from feature_tracker.model.hooks import EMBEDDINGS, ResidReader
from feature_tracker.model.load import LanguageModel
from feature_tracker.model.replay import Replay, record_window
from feature_tracker.model.tokens import TokenizedText
from feature_tracker.progress import Progress, silent
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.run import Activations, run_in_turn
from feature_tracker.tracing.trace import Trace


@dataclass(frozen=True)
class Recording:
    """Every window of a text, recorded at the SAE layers.

    Attributes:
        trace: the top-k activations of this run. A run in another dtype gives slightly different ones.
        windows: one `Replay` per window, with the streams of the SAE layers, the embeddings (layer `EMBEDDINGS`) and
            what the last block gives.
        starts: position of each window's first token, not counting BOS.
        saes: by layer, float32.
        language_model: which ran.
    """

    trace: Trace
    windows: tuple[Replay, ...]
    starts: tuple[int, ...]
    saes: Mapping[int, Sae]
    language_model: LanguageModel

    @property
    def layers(self) -> list[int]:
        """SAE layers, ascending."""
        return sorted(self.trace.layers)

    @property
    def first(self) -> int:
        """Position of a window's first token in `Replay.resid`: 1 after BOS, 0 where windows start without it."""
        return self.language_model.first_token

    @property
    def last_block(self) -> int:
        """Layer of the last block, whose stream the final norm and the unembedding read."""
        return self.language_model.n_layers - 1

    def tokens_of(self, window: int) -> slice:
        """Positions of a window's tokens in the text."""
        start = self.starts[window]
        n_tokens = len(self.windows[window].resid[self.layers[0]]) - self.first
        return slice(start, start + n_tokens)


def part_of(tokens: TokenizedText, first: int, n_windows: int) -> TokenizedText:
    """Consecutive windows of a text, as a text of their own.

    Args:
        first: number of the first window.
        n_windows: number of windows, or fewer at the end of the text.
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
    """Run a text once and keep its residual streams, from the embeddings to the last block.

    Args:
        language_model: preferably in float32: some effects of an ablation are smaller than bfloat16 can represent.
    """
    activations = Activations(saes)
    windows: list[Replay] = []

    def forward(decoder: nn.Module, token_ids: torch.Tensor, run_layers: Sequence[int], reader: ResidReader) -> None:
        def read(layer: int, resid: torch.Tensor) -> None:
            if layer in run_layers:
                reader(layer, resid)

        recorded = sorted({EMBEDDINGS, *run_layers, language_model.n_layers - 1})
        windows.append(record_window(decoder, token_ids, recorded, read))

    run_in_turn(tokens, language_model, saes, activations, progress, forward)
    return Recording(activations.trace(tokens), tuple(windows), tokens.window_starts, dict(saes), language_model)
