"""Whether a file of labels is about a bundle's model, by the name that the file gives it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from feature_tracker.bundles.bundle import Bundle, PretrainedModel


def model_names(bundle: Bundle) -> tuple[str, ...]:
    """The names by which a bundle's model may go, the plainest first: on the hub, of its folder, of the bundle."""
    model = bundle.model
    if not isinstance(model, PretrainedModel):
        return (PurePosixPath(model.gguf).name.split(".")[0], bundle.name)
    if model.folder is None:
        return (model.id, bundle.name)
    # The hub's own cache keeps a model in models--owner--name/snapshots/<commit>.
    return (model.folder.name, bundle.name, *(part.split("--")[-1] for part in model.folder.parts if "--" in part))


def is_named(name: str, names: Iterable[str]) -> bool:
    """Whether a model of this name is one of these: owners, folders, capitals and punctuation don't count."""
    *folders, last = re.split(r"[/\\]", name.rstrip("/\\"))
    own = [last, *(part.split("--")[-1] for part in folders if part.startswith("models--"))]
    return not set(map(_plain, own)).isdisjoint(_plain(known.split("/")[-1]) for known in names)


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))
