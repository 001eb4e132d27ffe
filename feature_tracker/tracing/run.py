"""Run a model over a text and keep each SAE layer's top-k activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.errors import TrackerError
from feature_tracker.model.hooks import read_residuals
from feature_tracker.model.load import LanguageModel
from feature_tracker.model.tokens import TokenizedText, tokenize
from feature_tracker.progress import Progress, silent
from feature_tracker.sae.topk import Sae, TopK
from feature_tracker.tracing.trace import LayerTrace, Trace

_TOKENS_A_FORWARD = 2048  # enough to fill a processor, few enough to keep the residual streams small


def trace_text(
    text: str,
    language_model: LanguageModel,
    saes: Mapping[int, Sae],
    bundle: Bundle,
    progress: Progress = silent,
) -> Trace:
    """Trace a text of any length up to the bundle's `max_tokens`.

    The text is cut into windows that each start with BOS; BOS is traced over and left out of the result. Residual
    streams are encoded inside the hooks, in float32, and only top-k values and indices are kept.

    Raises:
        TrackerError: the text is blank or too long.
    """
    window = language_model.window(bundle.window)
    tokens = tokenize(text, language_model.tokenizer, window=window, max_tokens=bundle.max_tokens)
    return trace_tokens(tokens, language_model, saes, progress)


def trace_tokens(
    tokens: TokenizedText, language_model: LanguageModel, saes: Mapping[int, Sae], progress: Progress = silent
) -> Trace:
    """Trace a text that is tokenized already; see `trace_text`."""
    tops: dict[int, list[TopK]] = {layer: [] for layer in sorted(saes)}
    kept: dict[int, TopK] = {}

    def encode(layer: int, resid: torch.Tensor) -> None:
        kept[layer] = saes[layer].encode(resid[:, 1:])

    done = 0
    for batch in _batches(tokens, language_model.bos_id):
        progress("Reading the text", done / tokens.n_tokens)
        read_residuals(language_model.decoder, batch.to(language_model.model.device), list(saes), encode)
        for layer, top in kept.items():  # after the forward: a copy within it would make the GPU wait for each layer
            tops[layer].append(on_host(top))
        done += batch[:, 1:].numel()
    progress("Reading the text", 1.0)
    return Trace(tokens, {layer: layer_trace(layer, saes[layer], own) for layer, own in tops.items()})


def on_host(top: TopK) -> TopK:
    """Its rows (n, k) in the host's memory, indices as int32."""
    return TopK(top.values.flatten(0, -2).cpu(), top.indices.flatten(0, -2).to(torch.int32).cpu())


def layer_trace(layer: int, sae: Sae, tops: Sequence[TopK]) -> LayerTrace:
    """One layer's activations, of several forwards on the host.

    Kinds of SAEs without a k of their own keep as many columns as the token with most activations needs.

    Raises:
        TrackerError: an activation is not finite.
    """
    values, indices = (torch.cat(parts).numpy() for parts in zip(*tops, strict=True))
    if not np.isfinite(values).all():
        raise TrackerError(
            f"Layer {layer} holds numbers that are not finite, so nothing can be said of this text. float16 is too "
            "small for some models: set dtype to bfloat16 or float32. Else the weights are damaged: get them again."
        )
    if sae.activation not in ("topk", "groupmax"):
        most = max(1, int((values > 0).sum(axis=1).max()))  # the largest come first, so nothing but zeros is cut off
        values, indices = np.ascontiguousarray(values[:, :most]), np.ascontiguousarray(indices[:, :most])
    return LayerTrace(layer, values, indices, sae.n_latents)


def _batches(tokens: TokenizedText, bos_id: int) -> list[torch.Tensor]:
    """Windows with BOS in front, whole ones stacked; a shorter last window runs alone, so that nothing is padded."""
    windows = [torch.from_numpy(np.concatenate([[bos_id], ids])) for ids in tokens.windows()]
    n_whole = len(windows) - 1 if len(windows[-1]) < len(windows[0]) else len(windows)
    step = max(1, _TOKENS_A_FORWARD // tokens.window)
    batches = [torch.stack(windows[start : min(start + step, n_whole)]) for start in range(0, n_whole, step)]
    return batches + [window[None] for window in windows[n_whole:]]
