"""Fetch a model from the Hugging Face hub: safetensors, configuration and tokenizer, but nothing that runs."""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import httpx2
from huggingface_hub import (
    HfApi,
    constants,
    get_cached_repo_tree,
    get_token,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import filter_repo_objects
from tqdm.auto import tqdm

from feature_tracker.bundles.bundle import PretrainedModel
from feature_tracker.bundles.missing import PICKLES, WEIGHTS, WEIGHTS_INDEX, adapter_among, model_gap, require_model
from feature_tracker.errors import TrackerError
from feature_tracker.model.fetching.digests import digest
from feature_tracker.progress import Progress, silent

_SMALL = ("config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json",
          "vocab.json", "merges.txt", "chat_template*")  # fmt: skip
"""Patterns of the files to fetch beside the weights, from the top of a repository."""
_NOT_IN_FOLDERS = "*/*"  # folders hold copies for other programs (`original/`, `onnx/`), gigabytes each
_COPIES = "consolidated*"  # in Mistral's own layout
_HASHES: dict[int, tuple[Literal["sha256", "sha1", "git"], ...]] = {64: ("sha256",), 40: ("git", "sha1")}
"""By length, what the name of a file in the hub's cache may be a hash of: some mirrors take plain SHA-1 for git's."""


def files_to_fetch(model: str, names: Iterable[str]) -> list[str]:
    """Which of a repository's files make the model: its weights once, its configuration and tokenizer.

    Raises:
        TrackerError: it holds no weights in transformers' layout, or an adapter. Says what it holds.
    """
    names = sorted(names)
    if adapter := adapter_among(names):
        raise TrackerError(f"{model} can't be used. {adapter}")
    weights = [WEIGHTS] if WEIGHTS in names else []
    if not weights and WEIGHTS_INDEX in names:
        shards = filter_repo_objects(names, allow_patterns="*.safetensors", ignore_patterns=[_NOT_IN_FOLDERS, _COPIES])
        weights = [WEIGHTS_INDEX, *shards]
    if not weights:
        listed = ", ".join(names[:6]) or "no file at all"
        raise TrackerError(
            f"{model} holds no safetensors by the names {WEIGHTS} or {WEIGHTS_INDEX} ({listed}). {PICKLES}"
        )
    return [*weights, *filter_repo_objects(names, allow_patterns=list(_SMALL), ignore_patterns=_NOT_IN_FOLDERS)]


def ensure_hub_model(source: PretrainedModel, progress: Progress = silent) -> Path:
    """The folder of a hub model, fetched into the hub's own cache where that doesn't hold it whole.

    A cached model is used without asking the hub, so two analyses use the same weights, and a machine without network
    works. A changed branch is fetched again only when another `revision` is named or the cache is cleared.

    Raises:
        TrackerError: no such model or revision, no access to it, no network, no safetensors, or no room on the disk.
    """
    try:
        return _cached(source) or _fetch(source, progress)
    except TrackerError:
        raise
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise _refused(source, error) from error
    except httpx2.HTTPError as error:
        raise _unreachable(source, error) from error
    except OSError as error:
        raise _not_stored(source, error) from error


def _cached(source: PretrainedModel) -> Path | None:
    """The model's folder in the hub's cache, if all its files are there and undamaged; damaged ones are removed."""
    files = None  # where another version of huggingface_hub fetched it, no list was kept
    with contextlib.suppress(CachedRepoTreeNotFoundError, HFValidationError):
        listed = get_cached_repo_tree(source.id, revision=source.revision)
        files = files_to_fetch(source.id, (file.path for file in listed))
    try:
        cached = Path(
            snapshot_download(source.id, revision=source.revision, allow_patterns=files, local_files_only=True)
        )
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return None if model_gap(cached) or _remove_damaged(cached) else cached


def _remove_damaged(folder: Path) -> list[str]:
    """Take out the files of a folder in the hub's cache that aren't what the hub sent, and name them."""
    damaged: list[str] = []
    for name in files_to_fetch(str(folder), (path.name for path in folder.iterdir())):
        blob = (folder / name).resolve()
        # On systems without links the cache has no blobs, and what a file's hash should be is not known.
        kinds = _HASHES.get(len(blob.name), ()) if re.fullmatch("[0-9a-f]+", blob.name) else ()
        if kinds and blob.name not in [digest(blob, kind) for kind in kinds]:
            damaged.append(name)
            (folder / name).unlink()
            blob.unlink(missing_ok=True)
    return damaged


def _fetch(source: PretrainedModel, progress: Progress) -> Path:
    progress(f"Asking the hub for {source.id}", 0.0)
    info = HfApi().model_info(source.id, revision=source.revision, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    files = files_to_fetch(source.id, sizes)
    total = sum(sizes[name] for name in files)
    cached = sum(
        sizes[name] for name in files if isinstance(try_to_load_from_cache(source.id, name, revision=info.sha), str)
    )
    _check_room(source, total - cached)
    folder = Path(
        snapshot_download(
            source.id, revision=source.revision, allow_patterns=files, max_workers=4,
            tqdm_class=_bar_for(source, cached, total, progress),
        )
    )  # fmt: skip
    require_model(folder, source.id)
    if damaged := _remove_damaged(folder):
        raise TrackerError(
            f"{', '.join(damaged)} of {source.id} came damaged: the hash is not the one that the hub names. The file "
            "was not kept. A proxy or mirror may have changed it; try again."
        )
    progress(f"{source.id} is in the cache", 1.0)
    return folder


def _bar_for(source: PretrainedModel, cached: int, total: int, progress: Progress) -> type[tqdm[Any]]:
    """A class of progress bars that draw nothing and pass huggingface_hub's counts on to `progress`.

    huggingface_hub makes several bars of it: bytes received, bytes written, files. Of those in bytes, the one that is
    further along counts.

    Args:
        cached: bytes that lay in the cache before.
        total: bytes of the whole model.
    """
    furthest = [0]

    class Bar(tqdm):
        """Counts without drawing."""

        def __init__(self, *args: Any, **options: Any) -> None:
            self._of_bytes, self._done = options.get("unit") == "B", 0
            super().__init__(*args, **options | {"disable": True})

        def update(self, n: float | None = 1) -> None:
            self._done += int(n or 0)
            if self._of_bytes and self._done > furthest[0]:
                furthest[0] = self._done
                done = min(cached + self._done, total)
                progress(f"Downloading {source.id}: {done / 1e9:.2f} of {total / 1e9:.2f} GB", done / max(total, 1))

    return Bar


def _check_room(source: PretrainedModel, needed: int) -> None:
    cache = Path(constants.HF_HUB_CACHE)
    existing = next(path for path in (cache, *cache.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise TrackerError(
            f"{source.id} takes {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in {cache}. Free some space, "
            "or set HF_HOME to a folder on a larger disk."
        )


def _refused(source: PretrainedModel, error: Exception) -> TrackerError:
    page = f"{constants.ENDPOINT}/{source.id}"
    if isinstance(error, HFValidationError):
        return TrackerError(
            f"{source.id!r} is neither a folder on this machine nor a name on the Hugging Face hub, which reads "
            "owner/name. Correct FEATURE_TRACKER_MODEL, --model, or `id` in the bundle's TOML file."
        )
    if isinstance(error, GatedRepoError):
        return TrackerError(
            f"{source.id} is gated: its owner gives access to people who accept the terms. Accept them at {page}, then "
            "make a token in your hub settings and set HF_TOKEN to it (or run `hf auth login`). The hub gave no access "
            f"{'with the token it got' if get_token() else 'because it got no token'}."
        )
    if isinstance(error, RevisionNotFoundError):
        return TrackerError(
            f"{source.id} has no revision {source.revision!r}. Its branches and commits are listed at {page}/commits."
        )
    if isinstance(error, RepositoryNotFoundError):
        return TrackerError(
            f"There is no model {source.id} on {constants.ENDPOINT}, or it is private and the hub got no token that "
            "may read it. Check the name's spelling; for a private model set HF_TOKEN or run `hf auth login`. A folder "
            "on this machine may be named instead (FEATURE_TRACKER_MODEL), but there is none at "
            f"{Path(source.id).absolute()}."
        )
    if isinstance(error, HfHubHTTPError):
        return TrackerError(f"The hub answered {error.response.status_code} for {source.id}. Try again later.")
    return _unreachable(source, error)


def _unreachable(source: PretrainedModel, error: Exception) -> TrackerError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return TrackerError(
        f"The model {source.id} is not on this machine yet, and {constants.ENDPOINT} can't be reached ({reason}). "
        "Check the network and its proxy (HTTPS_PROXY), and that HF_HUB_OFFLINE is not set; or copy the model's folder "
        f"from a machine that has it and name it by FEATURE_TRACKER_MODEL."
    )


def _not_stored(source: PretrainedModel, error: OSError) -> TrackerError:
    cache = constants.HF_HUB_CACHE
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TrackerError(
            f"The disk is full: {source.id} could not be stored whole in {cache}. Free some space, or set HF_HOME to a "
            "folder on a larger disk; what was fetched is kept, and the download goes on from there."
        )
    return TrackerError(f"{source.id} can't be stored in {cache} ({error}). Make it writable, or set HF_HOME.")
