"""Fetch a model from the Hugging Face hub: safetensors, configuration and tokenizer, but nothing that runs."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, constants, get_token, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
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
from feature_tracker.bundles.missing import PICKLES, model_gap, require_model
from feature_tracker.errors import TrackerError
from feature_tracker.progress import Progress, silent

FILES = ["*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", "tokenizer*",
         "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template*"]  # fmt: skip
"""Patterns of the files to fetch from the top of a repository."""
_NOT_IN_FOLDERS = ["*/*"]  # folders hold copies for other programs (`original/`, `onnx/`), gigabytes each


def ensure_hub_model(source: PretrainedModel, progress: Progress = silent) -> Path:
    """The folder of a hub model, fetched into the hub's own cache where that doesn't hold it whole.

    A cached model is used without asking the hub, so two analyses use the same weights, and a machine without network
    works. A changed branch is fetched again only when another `revision` is named or the cache is cleared.

    Raises:
        TrackerError: no such model or revision, no access to it, no network, no safetensors, or no room on the disk.
    """
    cached = _cached(source)
    if cached is not None:
        return cached
    try:
        return _fetch(source, progress)
    except TrackerError:
        raise
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise _refused(source, error) from error
    except httpx2.HTTPError as error:
        raise _unreachable(source, error) from error
    except OSError as error:
        raise _not_stored(source, error) from error


def _cached(source: PretrainedModel) -> Path | None:
    try:
        cached = snapshot_download(
            source.id, revision=source.revision, allow_patterns=FILES, ignore_patterns=_NOT_IN_FOLDERS,
            local_files_only=True,
        )  # fmt: skip
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return None if model_gap(Path(cached)) else Path(cached)


def _fetch(source: PretrainedModel, progress: Progress) -> Path:
    progress(f"Asking the hub for {source.id}", 0.0)
    info = HfApi().model_info(source.id, revision=source.revision, files_metadata=True)
    files = {file.rfilename: file.size or 0 for file in info.siblings or []}
    wanted = set(filter_repo_objects(files, allow_patterns=FILES, ignore_patterns=_NOT_IN_FOLDERS))
    if not any(name.endswith(".safetensors") for name in wanted):
        raise TrackerError(
            f"{source.id} holds no safetensors ({', '.join(sorted(files)[:6]) or 'no file at all'}). {PICKLES}"
        )
    total = sum(files[name] for name in wanted)
    cached = sum(
        files[name] for name in wanted if isinstance(try_to_load_from_cache(source.id, name, revision=info.sha), str)
    )
    _check_room(source, total - cached)
    folder = snapshot_download(
        source.id, revision=source.revision, allow_patterns=FILES, ignore_patterns=_NOT_IN_FOLDERS, max_workers=4,
        tqdm_class=_bar_for(source, cached, total, progress),
    )  # fmt: skip
    require_model(Path(folder), source.id)
    progress(f"{source.id} is in the cache", 1.0)
    return Path(folder)


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
