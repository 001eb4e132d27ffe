"""Fetch a model from the Hugging Face hub: safetensors, configuration and tokenizer, and nothing that runs."""

from __future__ import annotations

import errno
import re
import shutil
from collections import Counter
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

from feature_tracker.bundles.bundle import PretrainedSource
from feature_tracker.bundles.missing import PICKLES
from feature_tracker.bundles.settings import MODEL_VARIABLE
from feature_tracker.errors import TrackerError
from feature_tracker.progress import Progress, silent

FILES = ["*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", "tokenizer*",
         "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template*"]  # fmt: skip
"""What is fetched: names at the top of a repository."""
_PART = re.compile(r"-\d+-of-(\d+)\.safetensors$")
_NOT_IN_FOLDERS = ["*/*"]  # another copy for another program (`original/`, `onnx/`), gigabytes each


def ensure_hub_model(source: PretrainedSource, progress: Progress = silent) -> Path:
    """The folder of a hub model, fetched into the hub's own cache where it isn't there whole.

    What lies in the cache is used without asking the hub: two analyses use the same weights, and a machine without
    network works. A changed branch is fetched anew once another `revision` is named or the cache is cleared.

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


def holds_model(folder: Path) -> bool:
    """Whether a folder holds a configuration and safetensors, as many as their names say: `model-00002-of-00003`."""
    names = [path.name for path in folder.glob("*.safetensors") if path.exists()]
    totals = Counter(part[1] for part in map(_PART.search, names) if part)
    return (folder / "config.json").is_file() and bool(names) and all(n == int(of) for of, n in totals.items())


def _cached(source: PretrainedSource) -> Path | None:
    try:
        found = snapshot_download(
            source.id, revision=source.revision, allow_patterns=FILES, ignore_patterns=_NOT_IN_FOLDERS,
            local_files_only=True,
        )  # fmt: skip
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return Path(found) if holds_model(Path(found)) else None


def _fetch(source: PretrainedSource, progress: Progress) -> Path:
    progress(f"Asking the hub for {source.id}", 0.0)
    info = HfApi().model_info(source.id, revision=source.revision, files_metadata=True)
    files = {file.rfilename: file.size or 0 for file in info.siblings or []}
    wanted = set(filter_repo_objects(files, allow_patterns=FILES, ignore_patterns=_NOT_IN_FOLDERS))
    if not any(name.endswith(".safetensors") for name in wanted):
        raise TrackerError(
            f"{source.id} holds no safetensors ({', '.join(sorted(files)[:6]) or 'no file at all'}). {PICKLES}"
        )
    total = sum(files[name] for name in wanted)
    there = sum(
        files[name] for name in wanted if isinstance(try_to_load_from_cache(source.id, name, revision=info.sha), str)
    )
    _check_room(source, total - there)
    folder = snapshot_download(
        source.id, revision=source.revision, allow_patterns=FILES, ignore_patterns=_NOT_IN_FOLDERS, max_workers=4,
        tqdm_class=_bar_for(source, there, total, progress),
    )  # fmt: skip
    progress(f"{source.id} is in the cache", 1.0)
    return Path(folder)


def _bar_for(source: PretrainedSource, there: int, total: int, progress: Progress) -> type[tqdm]:
    """A bar that draws nothing and hands what huggingface_hub counts on it to `progress`.

    huggingface_hub makes several bars of it: bytes received, bytes written, files. The further one of bytes counts.

    Args:
        there: bytes that lay in the cache before.
        total: bytes that the model has.
    """
    furthest = [0]

    class Bar(tqdm):
        """Counts, and draws nothing."""

        def __init__(self, *args: Any, **options: Any) -> None:
            self._of_bytes, self._done = options.get("unit") == "B", 0
            super().__init__(*args, **options | {"disable": True})

        def update(self, n: float | None = 1) -> None:
            self._done += int(n or 0)
            if self._of_bytes and self._done > furthest[0]:
                furthest[0] = self._done
                done = min(there + self._done, total)
                progress(f"Downloading {source.id}: {done / 1e9:.2f} of {total / 1e9:.2f} GB", done / max(total, 1))

    return Bar


def _check_room(source: PretrainedSource, total: int) -> None:
    cache = Path(constants.HF_HUB_CACHE)
    existing = next(path for path in (cache, *cache.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if total > free:
        raise TrackerError(
            f"{source.id} takes {total / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in {cache}. Free some space, or "
            "set HF_HOME to a folder on a larger disk."
        )


def _refused(source: PretrainedSource, error: Exception) -> TrackerError:
    page = f"{constants.ENDPOINT}/{source.id}"
    if isinstance(error, HFValidationError):
        return TrackerError(
            f"{source.id!r} is neither a folder on this machine nor a name on the Hugging Face hub, which reads "
            f"owner/name. Correct {MODEL_VARIABLE}, --model, or `id` in the bundle's TOML file."
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
            f"on this machine may be named instead ({MODEL_VARIABLE}), but none is at {Path(source.id).absolute()}."
        )
    if isinstance(error, HfHubHTTPError):
        return TrackerError(f"The hub answered {error.response.status_code} for {source.id}. Try again later.")
    return _unreachable(source, error)


def _unreachable(source: PretrainedSource, error: Exception) -> TrackerError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return TrackerError(
        f"The model {source.id} is not on this machine yet, and {constants.ENDPOINT} can't be reached ({reason}). "
        "Check the network and its proxy (HTTPS_PROXY), and that HF_HUB_OFFLINE is not set; or copy the model's folder "
        f"from a machine that has it and name it by {MODEL_VARIABLE}."
    )


def _not_stored(source: PretrainedSource, error: OSError) -> TrackerError:
    cache = constants.HF_HUB_CACHE
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TrackerError(
            f"The disk is full: {source.id} could not be stored whole in {cache}. Free some space, or set HF_HOME to a "
            "folder on a larger disk; what was fetched is kept, and the download goes on from there."
        )
    return TrackerError(f"{source.id} can't be stored in {cache} ({error}). Make it writable, or set HF_HOME.")
