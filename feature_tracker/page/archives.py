"""The archives that the page offers: those in the folder that its operator named, and no others.

A visitor chooses among their names. No path comes from the browser.
"""

from __future__ import annotations

import re
from pathlib import Path

import streamlit as st

from feature_tracker.archive.archive import Archive
from feature_tracker.bundles.settings import Environment
from feature_tracker.errors import TrackerError
from feature_tracker.page.errors import plain
from feature_tracker.tracker import Tracker

_CHOSEN = "archive"
_MARK = "archive.json"
_FOLDERS = re.compile(r"^.*[/\\]", re.DOTALL)
_HOW_TO = (
    "An archive holds the features of many documents. `feature-tracker corpus run FOLDER --out ARCHIVES/NAME` makes "
    "one of a folder of documents, and `feature-tracker page --archives ARCHIVES` shows those in the folder ARCHIVES "
    "here."
)


def offered() -> dict[str, Path]:
    """The folders of the archives that may be chosen, by name; the folder that was named may be an archive itself."""
    folder = Environment().archives
    if folder is None or not folder.is_dir():
        return {}
    if (folder / _MARK).is_file():
        return {folder.name: folder}
    return {path.name: path for path in sorted(folder.iterdir()) if (path / _MARK).is_file()}


def choose_archive() -> Archive | None:
    """Draw the choice of archives, and open the chosen one; `None` where there is none.

    Raises:
        TrackerError: it can't be read.
    """
    folders = offered()
    if not folders:
        return None
    if st.session_state.get(_CHOSEN) not in folders:  # it was taken away, or never there
        st.session_state.pop(_CHOSEN, None)
    name = st.selectbox(
        "Archive",
        list(folders),
        key=_CHOSEN,
        persist_state="page",
        label_visibility="collapsed",
        help="The archives in the folder that was named when the page was started.",
    )
    return open_archive(folders[name])


def show_how_to() -> None:
    """Say that there is no archive, and how to make one."""
    named = Environment().archives
    st.info((f"There is no archive in the folder {plain(str(named))}. " if named else "") + _HOW_TO)


def open_archive(folder: Path) -> Archive:
    """An archive as it is now on disk; opened once for all sessions until a run adds to it."""
    opened = Archive.open(folder)
    return _kept(*key_of(opened), _archive=opened)


def key_of(archive: Archive) -> tuple[str, int, int]:
    """What changes when an archive does: its folder, when it was begun, and how many parts are there."""
    return str(archive.folder), (archive.folder / _MARK).stat().st_mtime_ns, archive.n_parts


@st.cache_resource(max_entries=4, show_spinner=False)
def _kept(folder: str, begun: int, n_parts: int, *, _archive: Archive) -> Archive:
    return _archive


def file_name(source: str) -> str:
    """A document's source without the folders of the machine that read it, which concern no visitor."""
    return _FOLDERS.sub("", source)


def archive_of(tracker: Tracker) -> Archive | None:
    """The archive whose documents go with a tracker: the chosen one, or the first that was made with its SAEs."""
    folders = offered()
    chosen = st.session_state.get(_CHOSEN)
    for name in sorted(folders, key=lambda name: name != chosen):
        try:
            archive = open_archive(folders[name])
        except TrackerError:  # told where it is opened
            continue
        if archive.manifest.fingerprint == tracker.fingerprint:
            return archive
    return None
