"""Find the SAEs of a bundle's layers in a folder, in any of the formats that the tracker reads, and load them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.bundles.missing import refused_pickle
from feature_tracker.bundles.model_names import model_names
from feature_tracker.bundles.sae_folders import Format, FoundSae, find_saes
from feature_tracker.errors import TrackerError
from feature_tracker.sae.formats import dictionary_learning, gemma_scope, llama_scope, saelens, sparsify
from feature_tracker.sae.formats.claims import Claims, LayerClaim
from feature_tracker.sae.formats.settings import Settings
from feature_tracker.sae.formats.sparsify import save_sae
from feature_tracker.sae.topk import Sae

__all__ = ["check_writable", "load_bundle_saes", "load_saes", "save_sae", "starts_with_bos"]

# Each has `settings_of`, `claim` and `load`.
_READERS: dict[Format, ModuleType] = {
    "sparsify": sparsify,
    "SAELens": saelens,
    "Gemma Scope": gemma_scope,
    "Llama Scope": llama_scope,
    "dictionary_learning": dictionary_learning,
}


class _Candidate(NamedTuple):
    """An SAE in the folder, with all that says where it belongs.

    Attributes:
        layers: those that it names; several contradict each other, none leaves it unused.
        error: why it can't be read, where that shows before its tensors are.
    """

    found: FoundSae
    settings: Settings | None
    claims: Claims
    layers: frozenset[int]
    error: TrackerError | None


def load_bundle_saes(bundle: Bundle, *, d_model: int | None = None, layer_norm: bool | None = None) -> dict[int, Sae]:
    """Load a bundle's SAEs; see `load_saes`.

    Raises:
        TrackerError: also where a file names another model than the bundle's, and the bundle doesn't accept that name,
            or where files and bundle disagree on whether windows start with BOS.
    """
    saes = load_saes(
        bundle.sae_folder,
        bundle.layers,
        d_model=d_model,
        layer_norm=layer_norm,
        models=(*model_names(bundle), *bundle.sae_models),
        variant=bundle.sae_variant,
    )
    starts_with_bos(bundle, saes)
    return saes


def starts_with_bos(bundle: Bundle, saes: Mapping[int, Sae]) -> bool:
    """Whether a bundle's windows start with BOS, because its SAEs were trained so: true where nothing says otherwise.

    Raises:
        TrackerError: the SAEs' files or the bundle contradict each other.
    """
    says = {sae.bos: f"the SAE of layer {layer}" for layer, sae in saes.items() if sae.bos is not None}
    if bundle.prepend_bos is not None:
        says[bundle.prepend_bos] = f"prepend_bos of bundle {bundle.name}"
    if len(says) > 1:
        raise TrackerError(
            f"{bundle.sae_folder}: {says[True]} says that windows start with BOS, and {says[False]} that they don't. "
            "All SAEs of a bundle read the same windows: correct the one that is wrong, or leave a layer out."
        )
    return next(iter(says), True)


def load_saes(
    folder: Path,
    layers: Sequence[int],
    *,
    d_model: int | None = None,
    layer_norm: bool | None = None,
    models: Sequence[str] = (),
    variant: str = "",
) -> dict[int, Sae]:
    """Load the SAEs of several layers, onto the CPU.

    Args:
        folder: holds the files of every layer in `layers` in any of the formats; see docs/bundles.md. The layer is what
            the names of folders, the hook in the configuration and the like say, and they must agree.
        d_model: width of the model's residual stream; `None` where it is unknown.
        layer_norm: whether the model's blocks have LayerNorm, and not RMSNorm; `None` where it is unknown.
        models: names by which the model goes, the plainest first; empty to take SAEs of any.
        variant: the folder to choose where a layer has several SAEs, such as `seed0`.

    Raises:
        TrackerError: a layer is missing or there several times, places contradict each other, a file is damaged, a kind
            or setting isn't supported, shapes don't agree, or a weight is not finite.
    """
    candidates = [_examined(folder, found) for found in find_saes(folder)]
    chosen = {layer: _chosen(folder, layer, candidates, variant) for layer in layers}
    missing = [layer for layer, candidate in chosen.items() if candidate is None]
    if missing:
        raise _missing(folder, missing, candidates)
    saes = {}
    for layer, candidate in chosen.items():
        if candidate is None or candidate.settings is None:  # `_chosen` and `_missing` raised what is wrong
            continue
        candidate.claims.check_models(models)
        reader = _READERS[candidate.found.format]
        saes[layer] = reader.load(candidate.settings, candidate.found, candidate.claims, d_model, layer_norm=layer_norm)
    return saes


def check_writable(folder: Path, layers: Sequence[int]) -> None:
    """Refuse to write SAEs to a folder that holds one of these layers in another format or under another name.

    `save_sae` writes sparsify's files to `layers.N`, and `load_saes` would then find that layer twice.

    Raises:
        TrackerError: there is such a layer.
    """
    for candidate in (_examined(folder, found) for found in find_saes(folder)):
        found = candidate.found
        for layer in candidate.layers & set(layers):
            if found.format != "sparsify" or found.folder != folder / f"layers.{layer}":
                raise TrackerError(
                    f"{found.folder} holds layer {layer}'s SAE in {found.format}'s format. An SAE written to {folder} "
                    "would stand beside it and not hide it: name another folder as the bundle's sae_folder, or leave "
                    "the layer out."
                )


def _examined(folder: Path, found: FoundSae) -> _Candidate:
    """Collect everything that says where an SAE belongs; only its configuration is read."""
    claims = Claims(found.weights)
    for part, layer in found.layers(folder).items():
        claims.layers.append(LayerClaim(f"the folder's name {part!r}", layer))
    reader, settings, error = _READERS[found.format], None, None
    try:
        other = found.other_stream(folder)
        if other:
            raise TrackerError(f"{found.weights}: the folder's name {other!r} says that it reads no residual stream.")
        settings = reader.settings_of(found)
        claims.path = settings.path
        reader.claim(settings, found, folder, claims)
        claims.layer()
    except TrackerError as caught:
        error = caught
    return _Candidate(found, settings, claims, frozenset(claim.layer for claim in claims.layers), error)


def _chosen(folder: Path, layer: int, candidates: Sequence[_Candidate], variant: str) -> _Candidate | None:
    """The SAE of a layer; `None` where there is none.

    Raises:
        TrackerError: there are several, or what is there can't be read.
    """
    fitting = [candidate for candidate in candidates if layer in candidate.layers]
    if len(fitting) > 1 and variant:
        fitting = [candidate for candidate in fitting if variant in candidate.found.parts(folder)]
        if not fitting:
            raise TrackerError(f"{folder}: no SAE of layer {layer} lies in a folder {variant!r} (`sae_variant`).")
    if len(fitting) > 1:
        raise _several(folder, layer, [candidate.found for candidate in fitting])
    if fitting and fitting[0].error is not None:
        raise fitting[0].error
    return fitting[0] if fitting else None


def _several(folder: Path, layer: int, found: Sequence[FoundSae]) -> TrackerError:
    paths = " and ".join(str(each.weights.relative_to(folder)) for each in found[:6])
    more = f" and {len(found) - 6} more" if len(found) > 6 else ""
    return TrackerError(
        f"{folder}: {paths}{more} {'both' if len(found) == 2 else 'all'} read layer {layer}. Which of them should be "
        'taken? Name its folder in the bundle\'s TOML file, such as sae_variant = "seed0", or move the others away.'
    )


def _missing(folder: Path, layers: list[int], candidates: Sequence[_Candidate]) -> TrackerError:
    here = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    unread = [candidate.error for candidate in candidates if candidate.error is not None and not candidate.layers]
    return TrackerError(
        f"No SAE for layer {', '.join(map(str, layers))} in {folder}: expected layers.{layers[0]}/sae.safetensors and "
        f"cfg.json (or SAELens's sae_weights.safetensors; docs/bundles.md has all formats), found "
        f"{', '.join(here) or 'no layers.N folder'}. {refused_pickle(folder)}{f'{unread[0]} ' if unread else ''}"
        "Point the bundle's sae_folder at the folder that holds every layer."
    )
