"""Choose the files of a wheel or sdist: those that git tracks, so that a dirty tree builds what a clean one would."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class TrackedFiles(BuildHookInterface[BuilderConfig]):
    """Force tracked files into a build; `paths` in pyproject.toml maps places in the tree to places in the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fill in what Hatch includes; an editable install needs no files, it points to the tree."""
        if version == "editable":
            return
        root = Path(self.root)
        for source, packaged in self.config["paths"].items():
            for file in _files(root, source):
                place = file if self.target_name == "sdist" else packaged + file.removeprefix(source)
                build_data["force_include"][str(root / file)] = place


def _files(root: Path, source: str) -> list[str]:
    """Paths of the files at or under `source`, relative to the root; all but byte code where there is no git."""
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "ls-files", "-z", "--", source]
        listed = subprocess.run(command, capture_output=True, check=False, text=True)
        if listed.returncode == 0 and listed.stdout:
            return [file for file in listed.stdout.split("\0") if file and (root / file).is_file()]
    path = root / source
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    return [file.relative_to(root).as_posix() for file in files if file.is_file() and "__pycache__" not in file.parts]
