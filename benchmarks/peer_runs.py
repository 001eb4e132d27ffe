"""Peers: how other libraries find a text's active features, each as its own users would write it.

Every peer reads the same token ids and SAE weights, runs the decoder without its language-model head, and drops BOS
before encoding. Each returns what its library returns, so that none is charged for a conversion its users don't need.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from benchmarks.agreement import Encoded
from feature_tracker.errors import TrackerError
from feature_tracker.model.blocks import blocks_of
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae, TopK


@dataclass(frozen=True)
class Task:
    """The input of every peer.

    Attributes:
        row: (1, window) int64 token ids, BOS first.
        saes: by layer, ascending.
        language_model: a copy for this peer alone, because libraries wrap a model's modules.
        folder: folder from which the model was loaded.
    """

    row: torch.Tensor
    saes: dict[int, Sae]
    language_model: LanguageModel
    folder: Path


Run = Callable[[], Encoded]


def usual_way(task: Task) -> Run:
    """All hidden states, then each SAE's dense product, and the first k of a full sort."""
    decoder = task.language_model.decoder

    @torch.inference_mode()
    def run() -> Encoded:
        hidden = decoder(input_ids=task.row, use_cache=False, output_hidden_states=True).hidden_states
        encoded = {}
        for layer, sae in task.saes.items():
            x = hidden[layer + 1][:, 1:].float()
            acts = torch.relu((x - sae.b_dec) @ sae.encoder_weight.T + sae.encoder_bias)
            values, indices = acts.sort(dim=-1, descending=True)
            encoded[layer] = TopK(values[..., : sae.k], indices[..., : sae.k])
        return encoded

    return run


def sparsify_on_hooks(task: Task) -> Run:
    """eai-sparsify's `SparseCoder.encode` in forward hooks, within a full forward."""
    sparsify = sparse_coder()
    decoder, blocks = task.language_model.decoder, blocks_of(task.language_model.decoder)
    coders = {layer: coder_of(sparsify, sae) for layer, sae in task.saes.items()}

    @torch.inference_mode()
    def run() -> Encoded:
        encoded: dict[int, TopK] = {}

        def hook_for(layer: int) -> Callable[..., None]:
            def hook(_block: object, _args: object, output: Any) -> None:
                resid = output if isinstance(output, torch.Tensor) else output[0]
                top = coders[layer].encode(resid[:, 1:].flatten(0, 1).float())
                encoded[layer] = TopK(top.top_acts, top.top_indices)

            return hook

        handles = [blocks[layer].register_forward_hook(hook_for(layer)) for layer in coders]
        try:
            decoder(input_ids=task.row, use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
        return encoded

    return run


def nnsight_full(task: Task) -> Run:
    """nnsight: the layers' outputs saved in a trace, then encoded. The model runs to its last block."""
    return _nnsight(task, stop=False)


def nnsight_stopped(task: Task) -> Run:
    """The same with `tracer.stop()` after the last SAE layer."""
    return _nnsight(task, stop=True)


def _nnsight(task: Task, *, stop: bool) -> Run:
    nnsight = library("nnsight")
    wrapped = nnsight.NNsight(task.language_model.decoder)
    stack = next(name for name in ("layers", "h") if hasattr(task.language_model.decoder, name))
    blocks, layers = getattr(wrapped, stack), list(task.saes)

    @torch.inference_mode()
    def run() -> Encoded:
        with wrapped.trace(input_ids=task.row, use_cache=False) as tracer:
            streams = nnsight.save([])
            for layer in layers:
                streams.append(blocks[layer].output)
            if stop:
                tracer.stop()
        resids = [stream if isinstance(stream, torch.Tensor) else stream[0] for stream in streams]
        return {layer: task.saes[layer].encode(resid[:, 1:]) for layer, resid in zip(layers, resids, strict=True)}

    return run


def lens_with_saelens(task: Task) -> Run:
    """TransformerLens's bridge, stopped after the last SAE layer and caching only the streams; SAELens's TopKSAE."""
    bridge_module = library("transformer_lens.model_bridge")
    bridge = bridge_module.TransformerBridge.boot_transformers(
        str(task.folder),
        hf_model=task.language_model.model,
        tokenizer=task.language_model.tokenizer,
        dtype=task.language_model.model.dtype,
        device=str(task.row.device),
    )
    saelens = library("sae_lens")
    saes = {layer: saelens_sae(saelens, sae) for layer, sae in task.saes.items()}
    names = {layer: f"blocks.{layer}.hook_out" for layer in saes}
    wanted, last = set(names.values()), max(saes)

    @torch.inference_mode()
    def run() -> Encoded:
        _, cache = bridge.run_with_cache(task.row, stop_at_layer=last + 1, names_filter=lambda name: name in wanted)
        return {layer: sae.encode(cache[names[layer]][:, 1:]) for layer, sae in saes.items()}

    return run


PEERS: dict[str, Callable[[Task], Run]] = {
    "usual_way": usual_way,
    "sparsify_on_hooks": sparsify_on_hooks,
    "nnsight_full": nnsight_full,
    "nnsight_stopped": nnsight_stopped,
    "lens_with_saelens": lens_with_saelens,
}


def library(name: str, *, without: str = "") -> ModuleType:
    """A module of another library.

    Args:
        without: a package whose `__init__` is not run, because it needs far more than the module does.

    Raises:
        TrackerError: it is not installed.
    """
    try:
        if without and without not in sys.modules:
            spec = importlib.util.find_spec(without)
            if spec is None:
                raise ImportError(f"no module named {without}")
            sys.modules[without] = importlib.util.module_from_spec(spec)
        return importlib.import_module(name)
    except ImportError as error:
        raise TrackerError(
            f"{name} can't be imported ({error}). docs/benchmarks.md says how other libraries are installed."
        ) from None


def sparse_coder() -> ModuleType:
    """Sparsify's encoder alone: the package needs a trainer and the library of data sets."""
    module = library("sparsify.sparse_coder", without="sparsify")
    # delphi takes them from the package.
    vars(sys.modules["sparsify"]).update(SparseCoder=module.SparseCoder, SparseCoderConfig=module.SparseCoderConfig)
    return module


def coder_of(sparsify: ModuleType, sae: Sae) -> Any:
    """An SAE as sparsify's `SparseCoder`."""
    config = sparsify.SparseCoderConfig(num_latents=sae.n_latents, k=sae.k)
    coder = sparsify.SparseCoder(sae.d_model, config, dtype=torch.float32, device=sae.b_dec.device)
    coder.encoder.weight.data, coder.encoder.bias.data = sae.encoder_weight, sae.encoder_bias
    coder.b_dec.data = sae.b_dec
    return coder


def saelens_sae(saelens: ModuleType, sae: Sae) -> Any:
    """An SAE as SAELens's `TopKSAE`."""
    config = saelens.TopKSAEConfig(
        d_in=sae.d_model, d_sae=sae.n_latents, k=sae.k, dtype="float32", device=str(sae.b_dec.device)
    )
    built = saelens.TopKSAE(config)
    state = {
        "W_enc": sae.encoder_weight.T.contiguous(),
        "b_enc": sae.encoder_bias,
        "W_dec": sae.decoder,
        "b_dec": sae.b_dec,
    }
    built.load_state_dict(state)
    return built
