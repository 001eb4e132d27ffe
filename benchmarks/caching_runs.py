"""Ways of writing a text's activations to disk: an archive, and how users of other libraries do it.

All read the same windows of token ids and run as many of them at once. A way is prepared first, which loads its model,
and may then be timed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from benchmarks.agreement import Encoded
from benchmarks.peer_runs import coder_of, library, saelens_sae, sparse_coder
from feature_tracker.archive.archive import Archive
from feature_tracker.archive.inputs import Inputs
from feature_tracker.archive.run import run_corpus
from feature_tracker.model.blocks import blocks_of
from feature_tracker.sae.topk import Sae, TopK
from feature_tracker.tracker import Tracker

_DELPHI_SPLITS = 5  # delphi's default


class Corpus(NamedTuple):
    """A text, all of whose documents fill their windows.

    Attributes:
        path: a .jsonl file with a document a line.
        ids: (n_windows, window) int64, the documents' windows in order, BOS first.
        batch_size: windows that run at once; `n_windows` is a multiple of it.
    """

    path: Path
    ids: np.ndarray
    batch_size: int

    @property
    def batches(self) -> tuple[torch.Tensor, ...]:
        """(batch_size, window) ids each."""
        return torch.from_numpy(self.ids).split(self.batch_size)


@dataclass(frozen=True)
class Task:
    """What a way is given.

    Attributes:
        tracker: its model is this way's alone, because libraries wrap a model's modules.
        saes: by layer, ascending, with the weights of their files.
        folder: of the model.
    """

    corpus: Corpus
    tracker: Tracker
    saes: Mapping[int, Sae]
    folder: Path

    @property
    def dtype(self) -> torch.dtype:
        """The model's."""
        return self.tracker.language_model.model.dtype


Cache = Callable[[Path], None]
"""Runs the corpus and writes to an empty folder."""


class Way(NamedTuple):
    """A way of writing activations.

    Attributes:
        prepare: loads what it needs.
        read: what it wrote of each token, BOS left out.
    """

    prepare: Callable[[Task], Cache]
    read: Callable[[Path, Task], Encoded]


def archive(task: Task) -> Cache:
    """A run into an archive, from text to tables."""
    return lambda out: run_corpus(task.tracker, Inputs(paths=(task.corpus.path,)), out) and None


def read_archive(out: Path, task: Task) -> Encoded:
    """An archive's activations."""
    opened = Archive.open(out)
    encoded = {}
    for layer in task.saes:
        table = opened.activations(layer).to_table()
        token, feature, value = (table[name].to_numpy() for name in ("token", "feature", "activation"))
        encoded[layer] = _dense(task, layer, token, feature, value)
    return encoded


def sparsify_on_hooks(task: Task) -> Cache:
    """eai-sparsify's `SparseCoder.encode` in forward hooks within a full forward; a safetensors file a batch."""
    sparsify = sparse_coder()
    coders = {layer: coder_of(sparsify, sae) for layer, sae in task.saes.items()}

    def encode(layer: int, resid: torch.Tensor) -> dict[str, torch.Tensor]:
        top = coders[layer].encode(resid.flatten(0, 1).float())
        return {"values": top.top_acts, "indices": top.top_indices}

    return _on_hooks(task, encode)


def saelens_on_hooks(task: Task) -> Cache:
    """SAELens's `TopKSAE.encode` in forward hooks, as its guide has it without TransformerLens; a file a batch."""
    saelens = library("sae_lens")
    saes = {layer: saelens_sae(saelens, sae) for layer, sae in task.saes.items()}
    return _on_hooks(task, lambda layer, resid: {"activations": saes[layer].encode(resid)})


def _on_hooks(task: Task, encode: Callable[[int, torch.Tensor], dict[str, torch.Tensor]]) -> Cache:
    decoder = task.tracker.language_model.decoder

    @torch.inference_mode()
    def cache(out: Path) -> None:
        encoded: dict[str, torch.Tensor] = {}

        def hook_for(layer: int) -> Callable[..., None]:
            def hook(_block: object, _args: object, output: Any) -> None:
                resid = output if isinstance(output, torch.Tensor) else output[0]
                encoded.update({f"{layer}.{name}": part for name, part in encode(layer, resid[:, 1:]).items()})

            return hook

        handles = [blocks_of(decoder)[layer].register_forward_hook(hook_for(layer)) for layer in task.saes]
        for number, batch in enumerate(task.corpus.batches):
            decoder(input_ids=batch, use_cache=False)
            save_file(encoded, out / f"{number:05}.safetensors")
        for handle in handles:
            handle.remove()

    return cache


def saelens_bridge(task: Task) -> Cache:
    """`run_with_cache_with_saes` of SAELens's bridge, stopped after the last SAE layer; a safetensors file a batch.

    The SAEs stand in the model's stream, so that later layers read it unchanged only with their error terms.
    """
    saelens = library("sae_lens")
    bridge = library("sae_lens.analysis.sae_transformer_bridge").SAETransformerBridge.boot_transformers(
        str(task.folder),
        hf_model=task.tracker.language_model.model,
        tokenizer=task.tracker.language_model.tokenizer,
        dtype=task.dtype,
        device="cpu",
    )
    saes: list[Any] = []
    for layer, sae in task.saes.items():
        saes.append(saelens_sae(saelens, sae).to(task.dtype))  # the stream keeps the SAEs' dtype
        saes[-1].cfg.metadata.hook_name = f"blocks.{layer}.hook_out"
    names = {f"blocks.{layer}.hook_out.hook_sae_acts_post": f"{layer}.activations" for layer in task.saes}

    @torch.inference_mode()
    def cache(out: Path) -> None:
        for number, batch in enumerate(task.corpus.batches):
            _, cached = bridge.run_with_cache_with_saes(
                batch,
                saes=saes,
                use_error_term=True,
                stop_at_layer=max(task.saes) + 1,
                names_filter=lambda name: name in names,
            )
            activations = {key: cached[name][:, 1:].contiguous() for name, key in names.items()}
            save_file(activations, out / f"{number:05}.safetensors")

    return cache


def read_batches(out: Path, task: Task) -> Encoded:
    """The activations of a folder with a safetensors file a batch."""
    batches = [load_file(path) for path in sorted(out.iterdir())]
    parts = {name: torch.cat([batch[name].flatten(0, -2) for batch in batches]) for name in batches[0]}
    return {
        layer: parts[f"{layer}.activations"]
        if f"{layer}.activations" in parts
        else TopK(parts[f"{layer}.values"], parts[f"{layer}.indices"])
        for layer in task.saes
    }


def saelens_runner(task: Task) -> Cache:
    """SAELens's `CacheActivationsRunner`, a run a layer: residual streams, which are still to be encoded."""
    saelens, datasets = library("sae_lens"), library("datasets")
    n_windows, window = task.corpus.ids.shape
    width = task.tracker.language_model.d_model
    texts = datasets.Dataset.from_dict({"input_ids": task.corpus.ids.tolist()})

    def runner(layer: int) -> Any:
        config = saelens.CacheActivationsRunnerConfig(
            dataset_path="",  # `override_dataset` is read
            model_name=str(task.folder),
            model_class_name="AutoModelForCausalLM",
            model_from_pretrained_kwargs={"dtype": task.dtype},
            model_batch_size=task.corpus.batch_size,
            hook_name=f"model.layers.{layer}",
            d_in=width,
            context_size=window,
            training_tokens=n_windows * window,
            buffer_size_gb=(n_windows * window * width * 4 + 1) / 1e9,  # a buffer that isn't filled begins anew
            new_cached_activations_path="set when it runs",
            shuffle=False,
            streaming=False,
            device="cpu",
        )
        return saelens.CacheActivationsRunner(config, override_dataset=texts)

    runners = {layer: runner(layer) for layer in task.saes}

    def cache(out: Path) -> None:
        for layer, runs in runners.items():
            runs.cfg.new_cached_activations_path = str(out / str(layer))
            runs.run()

    return cache


def read_streams(out: Path, task: Task) -> Encoded:
    """The streams of `saelens_runner`, encoded."""
    load = library("datasets").load_from_disk
    return {
        layer: sae.encode(torch.tensor(load(str(out / str(layer)))[f"model.layers.{layer}"][:])[:, 1:])
        for layer, sae in task.saes.items()
    }


def delphi(task: Task) -> Cache:
    """The `LatentCache` of delphi with eai-sparsify's coders: kept in memory, then saved in splits of the latents."""
    sparsify = sparse_coder()
    # The package needs faiss; delphi needs vLLM, which accepts none of this project's pins.
    latent_cache = library("delphi.latents.cache", without="delphi.latents")
    dense_latents = library("delphi.sparse_coders.load_sparsify").sae_dense_latents
    encoders = {
        f"layers.{layer}": partial(dense_latents, sae=coder_of(sparsify, sae)) for layer, sae in task.saes.items()
    }

    def cache(out: Path) -> None:
        batch_size, ids = task.corpus.batch_size, torch.from_numpy(task.corpus.ids)
        latents = latent_cache.LatentCache(task.tracker.language_model.decoder, encoders, batch_size=batch_size)
        latents.run(ids.numel(), ids)
        latents.save_splits(_DELPHI_SPLITS, out)

    return cache


def read_delphi(out: Path, task: Task) -> Encoded:
    """The splits of delphi's `LatentCache`."""
    encoded = {}
    for layer in task.saes:
        rows, latents, values = [], [], []
        for path in (out / f"layers.{layer}").iterdir():
            split = load_file(path)
            window, position, latent = split["locations"].long().T.numpy()
            is_token = position > 0
            rows.append((window * (task.corpus.ids.shape[1] - 1) + position - 1)[is_token])
            latents.append(latent[is_token] + int(path.name.partition("_")[0]))
            values.append(split["activations"].numpy()[is_token])
        encoded[layer] = _dense(task, layer, np.concatenate(rows), np.concatenate(latents), np.concatenate(values))
    return encoded


def _dense(task: Task, layer: int, rows: np.ndarray, latents: np.ndarray, values: np.ndarray) -> torch.Tensor:
    n_windows, window = task.corpus.ids.shape
    dense = torch.zeros(n_windows * (window - 1), task.saes[layer].n_latents)
    dense[torch.tensor(rows), torch.tensor(latents).long()] = torch.tensor(values).float()
    return dense


WAYS: dict[str, Way] = {
    "archive": Way(archive, read_archive),
    "sparsify_on_hooks": Way(sparsify_on_hooks, read_batches),
    "delphi": Way(delphi, read_delphi),
    "saelens_on_hooks": Way(saelens_on_hooks, read_batches),
    "saelens_bridge": Way(saelens_bridge, read_batches),
    "saelens_runner": Way(saelens_runner, read_streams),
}
