"""Run text through the model and encode it: the one place that does so.

Windows pass through the model in batches, and sinks receive the residual stream or the activations of each layer.
Tracing, recording, measuring and harvesting differ only in their windows and their sinks. A run is a generator, so that
its caller can report progress, write checkpoints and stop between batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn

from feature_tracker.errors import TrackerError
from feature_tracker.model.forward_queue import FORWARDS, Turn
from feature_tracker.model.hooks import ResidReader, read_residuals
from feature_tracker.model.load import LanguageModel
from feature_tracker.model.tokens import TokenizedText
from feature_tracker.progress import Progress, silent
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.attention_sinks import attention_sinks
from feature_tracker.tracing.trace import LayerTrace, Trace

_T = TypeVar("_T")
_U = TypeVar("_U")

TOKENS_PER_FORWARD = 2048
"""Enough to keep a processor busy, and few enough to keep residual streams small. 8 x 256 is fastest on two cores."""


class Batch(NamedTuple):
    """Windows that pass through the model together.

    Attributes:
        token_ids: (n_windows, longest) int64, BOS first where windows start with it. Shorter windows are padded at the
            end, where padding can't affect any token of a causal model.
        is_token: (n_windows, longest) bool without BOS, False on padding; `None` if nothing is padded.
        numbers: (n_windows,) which windows these are, counted from 0 in the order in which `batched` was given them.
        first: position of each window's first token: 1 after BOS, 0 without it.
    """

    token_ids: torch.Tensor
    is_token: torch.Tensor | None
    numbers: tuple[int, ...]
    first: int = 1

    @property
    def text_ids(self) -> torch.Tensor:
        """The token ids without BOS."""
        return self.token_ids[:, self.first :]

    @property
    def n_windows(self) -> int:
        """Number of windows in the batch."""
        return len(self.token_ids)

    @property
    def n_tokens(self) -> int:
        """Number of tokens in the batch, BOS and padding excluded."""
        return self.text_ids.numel() if self.is_token is None else int(self.is_token.sum())

    @property
    def lengths(self) -> list[int]:
        """Number of tokens of each window, BOS and padding excluded."""
        n_windows, longest = self.text_ids.shape
        return [longest] * n_windows if self.is_token is None else self.is_token.sum(dim=1).tolist()

    def tokens_of(self, resid: torch.Tensor) -> torch.Tensor:
        """(..., d_model) the rows of a stream (n_windows, longest, d_model) that belong to tokens, in order."""
        without_bos = resid[:, self.first :]
        return without_bos if self.is_token is None else without_bos[self.is_token.to(resid.device)]


class Encoded(NamedTuple):
    """One layer's activations on a batch's tokens, in order, on the CPU.

    Attributes:
        values: (n_tokens, k) float32, as in `TopK`.
        indices: (n_tokens, k) int32.
        attention_sink: (n_tokens,) bool, see `tracing.attention_sinks`.
    """

    values: torch.Tensor
    indices: torch.Tensor
    attention_sink: torch.Tensor


StreamSink = Callable[[int, torch.Tensor, Batch], None]
"""Called as sink(layer, resid, batch) during the forward; resid is (n_windows, longest, d_model), as `token_ids`."""

ActivationSink = Callable[[int, Encoded, Batch], None]
"""Called as sink(layer, encoded, batch) after the forward."""

Forward = Callable[[nn.Module, torch.Tensor, Sequence[int], ResidReader], None]
"""Runs a decoder on token ids and passes each layer's stream to a reader, as `read_residuals` does."""


def run(
    batches: Iterable[Batch],
    language_model: LanguageModel,
    layers: Sequence[int],
    *,
    stream_sinks: Sequence[StreamSink] = (),
    saes: Mapping[int, Sae] | None = None,
    activation_sinks: Sequence[ActivationSink] = (),
    forward: Forward = read_residuals,
    turn: Turn = nullcontext,
    at_once: int = 1,
) -> Iterator[Batch]:
    """Pass batches through the model, feed the sinks, and yield each batch when it is done.

    Residual streams are encoded inside the hooks, in float32 whatever the model's dtype.

    Args:
        layers: 0-based blocks whose streams are read; the forward stops after the last.
        stream_sinks: called by the thread that runs the forward.
        saes: by layer; required with activation sinks.
        activation_sinks: called by the caller's thread, in the order of the batches.
        forward: how to run the decoder on a batch.
        turn: taken for each batch, where other threads run models, too.
        at_once: batches that run at the same time, each on one core. Two cores that share a batch wait for each other
            at every operation, and how they share it decides its last bits; here it has the same bits on any number of
            cores. 1: one batch after the other, on all cores.
    """
    encoding = saes if activation_sinks else None

    def encode(batch: Batch) -> dict[int, Encoded]:
        with turn():
            encoded = _run_batch(batch, language_model, layers, stream_sinks, encoding, forward)
            # A copy during the forward would make a GPU wait at each layer.
            return {layer: Encoded(*(part.cpu() for part in on_device)) for layer, on_device in encoded.items()}

    for batch, encoded in _in_order(encode, batches, at_once):
        for layer, on_cpu in encoded.items():
            for sink in activation_sinks:
                sink(layer, on_cpu, batch)
        yield batch


def _in_order(function: Callable[[_T], _U], items: Iterable[_T], at_once: int) -> Iterator[tuple[_T, _U]]:
    """Each item with what the function gives, in order; up to `at_once` threads call it, with a core each."""
    if at_once == 1:
        yield from ((item, function(item)) for item in items)
        return
    n_threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=(1,))
    running: deque[tuple[_T, Future[_U]]] = deque()
    try:
        for item in items:
            running.append((item, pool.submit(function, item)))
            if len(running) > at_once:
                item, result = running.popleft()
                yield item, result.result()
        while running:
            item, result = running.popleft()
            yield item, result.result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(n_threads)  # a new thread takes the number that any thread set last


def _run_batch(
    batch: Batch,
    language_model: LanguageModel,
    layers: Sequence[int],
    stream_sinks: Sequence[StreamSink],
    saes: Mapping[int, Sae] | None,
    forward: Forward,
) -> dict[int, Encoded]:
    encoded: dict[int, Encoded] = {}

    def read(layer: int, resid: torch.Tensor) -> None:
        for sink in stream_sinks:
            sink(layer, resid, batch)
        if saes is not None:
            values, indices = saes[layer].encode(batch.tokens_of(resid))
            sinks = attention_sinks(resid[:, batch.first :], batch.is_token)
            encoded[layer] = Encoded(
                values.flatten(0, -2),
                indices.flatten(0, -2).to(torch.int32),
                sinks.flatten() if batch.is_token is None else sinks[batch.is_token.to(sinks.device)],
            )

    forward(language_model.decoder, batch.token_ids.to(language_model.model.device), layers, read)
    return encoded


def batched(
    windows: Iterable[np.ndarray],
    *,
    window: int,
    bos_id: int | None,
    tokens: int = TOKENS_PER_FORWARD,
    max_padding: float = 1.0,
) -> Iterator[Batch]:
    """Put windows into batches: whole windows with whole ones, shorter windows padded with shorter ones.

    Only the last window of a document can be short, so the windows of one document keep their order.

    Args:
        windows: (n_tokens,) ids each, BOS excluded, at most `window - 1`.
        window: length of a whole window, BOS or its place included.
        bos_id: the token that starts every window; `None` where windows start without one.
        tokens: largest size of a batch, BOS and padding included. A longer window makes a batch of its own.
        max_padding: of a batch, as a share of its size. It pays where windows come sorted by length.
    """
    whole: dict[int, np.ndarray] = {}  # by number
    short: dict[int, np.ndarray] = {}
    for number, ids in enumerate(windows):
        waiting = whole if len(ids) == window - 1 else short
        lengths = [*map(len, waiting.values()), len(ids)]
        size = len(lengths) * (max(lengths) + 1)
        if waiting and (size > tokens or size - sum(lengths) - len(lengths) > max_padding * size):
            yield _stacked(waiting, bos_id)
            waiting.clear()
        waiting[number] = ids
    yield from (_stacked(waiting, bos_id) for waiting in (whole, short) if waiting)


def _stacked(windows: Mapping[int, np.ndarray], bos_id: int | None) -> Batch:
    lengths = torch.tensor([len(ids) for ids in windows.values()])
    longest, first = int(lengths.max()), 0 if bos_id is None else 1
    token_ids = torch.full((len(windows), longest + first), bos_id or 0)
    for row, ids in enumerate(windows.values()):
        token_ids[row, first : len(ids) + first] = torch.from_numpy(ids)
    is_token = torch.arange(longest) < lengths[:, None]
    return Batch(token_ids, None if is_token.all() else is_token, tuple(windows), first)


class Activations:
    """An activation sink that keeps every token's top-k activations.

    Args:
        saes: by layer.
    """

    def __init__(self, saes: Mapping[int, Sae]) -> None:
        self._saes = saes
        self._encoded: dict[int, list[Encoded]] = {layer: [] for layer in sorted(saes)}

    def __call__(self, layer: int, encoded: Encoded, _batch: Batch) -> None:
        """Keep one layer's activations on a batch."""
        self._encoded[layer].append(encoded)

    def trace(self, tokens: TokenizedText) -> Trace:
        """The kept activations, as the trace of the text that was run.

        Raises:
            TrackerError: an activation is not finite.
        """
        layers = {layer: layer_trace(layer, self._saes[layer], parts) for layer, parts in self._encoded.items()}
        sinks = [torch.cat([part.attention_sink for part in parts]) for parts in self._encoded.values()]
        return Trace(tokens, layers, torch.stack(sinks).any(dim=0).numpy())


def trace_tokens(
    tokens: TokenizedText, language_model: LanguageModel, saes: Mapping[int, Sae], progress: Progress = silent
) -> Trace:
    """Trace a text of any length, in turn with all other traces and circuits of this process.

    Raises:
        TrackerError: an activation is not finite.
    """
    activations = Activations(saes)
    run_in_turn(tokens, language_model, saes, activations, progress)
    return activations.trace(tokens)


def run_in_turn(
    tokens: TokenizedText,
    language_model: LanguageModel,
    saes: Mapping[int, Sae],
    sink: ActivationSink,
    progress: Progress,
    forward: Forward = read_residuals,
) -> None:
    """Run a text window by window, and take a turn in the process's queue for each.

    Windows of one text never share a forward: two windows together are a tenth faster than one after the other, but who
    waits for a turn, or closes the tab, would wait as much longer.
    """
    windows = batched(tokens.windows(), window=tokens.window, bos_id=language_model.bos_id, tokens=1)
    with FORWARDS.job("Reading the text", len(tokens.window_starts), progress) as job:
        for _ in run(
            windows,
            language_model,
            sorted(saes),
            saes=saes,
            activation_sinks=[sink],
            forward=forward,
            turn=job.turn,
        ):
            pass


def layer_trace(layer: int, sae: Sae, encoded: Sequence[Encoded]) -> LayerTrace:
    """A layer's activations on a text, from its parts in order.

    Raises:
        TrackerError: an activation is not finite.
    """
    values, indices, _ = (torch.cat(parts).numpy() for parts in zip(*encoded, strict=True))
    if not np.isfinite(values).all():
        raise TrackerError(
            f"Layer {layer} gives numbers that are not finite, so this text can't be analyzed. If the bundle's dtype "
            "is float16, set it to bfloat16 or float32: some models overflow in float16. Otherwise the weights are "
            "damaged; fetch them again."
        )
    if sae.activation not in ("topk", "groupmax"):
        # Kinds without a k get as many columns as their busiest token needs. The largest come first, so only zeros go.
        n_columns = max(1, int((values > 0).sum(axis=1).max()))
        values, indices = np.ascontiguousarray(values[:, :n_columns]), np.ascontiguousarray(indices[:, :n_columns])
    return LayerTrace(layer, values, indices, sae.n_latents)
