"""Downloads that travel through the session's own connection.

Streamlit's download button puts a file at `/media/<hash>`. Everybody who learns the address can fetch it there, until
two more runs of any sessions have ended; then it is gone, also for a browser that hasn't fetched it yet. Here no file
has an address, and a click waits in the session until the browser has saved the file, however often the page is drawn.

These are no fragments: Streamlit loses clicks in a fragment while the whole page is redrawn.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple
from uuid import uuid4

import streamlit as st
from streamlit.components.v2 import component

from feature_tracker.page.errors import plain, shown_errors

_send = component("download", js=Path(__file__).with_name("download.js").read_text(encoding="utf-8"))

_WANTED = "wanted_downloads"


class _File(NamedTuple):
    """A file on its way.

    Attributes:
        id: by which the browser saves it only once.
        content: `None` until it is made.
        n_sent: how often it was sent. Streamlit runs a component's script again only where its data changes.
    """

    id: str
    name: str
    mime: str
    content: bytes | None = None
    n_sent: int = 0


def offer_download(
    label: str,
    make: Callable[[], bytes],
    *,
    file_name: str,
    mime: str,
    key: str,
    icon: str | None = ":material/download:",
    help: str | None = None,
    kind: Literal["secondary", "tertiary"] = "secondary",
) -> None:
    """Draw a button that makes a file, which `send_downloads` saves in the browser; errors are shown below the button.

    Args:
        make: called in the run after a click.
    """
    wanted = _wanted()
    st.button(label, key=key, icon=icon, help=help, type=kind, on_click=_ask, args=(wanted, key, file_name, mime))
    if key in wanted and wanted[key].content is None:
        with shown_errors(f"making {file_name}"):
            try:
                wanted[key] = wanted[key]._replace(content=make())
            except Exception:  # not `finally`: another click ends this run, and the next run tries again
                del wanted[key]
                raise


def send_downloads() -> None:
    """Send files to the browser, at the end of each run until it has saved them; say which were not made."""
    wanted = _wanted()
    for key, file in list(wanted.items()):
        if file.content is None:
            del wanted[key]
            st.toast(f"{plain(file.name)} was not saved, because the page moved on. Press its button again.")
            continue
        wanted[key] = file = file._replace(n_sent=file.n_sent + 1)
        content = base64.b64encode(file.content or b"").decode()
        data = {"id": file.id, "name": file.name, "mime": file.mime, "content": content, "n_sent": file.n_sent}
        _send(key=f"download_{file.id}", data=data, on_saved_change=partial(_forget, wanted, key))


def _wanted() -> dict[str, _File]:
    return st.session_state.setdefault(_WANTED, {})


def _ask(wanted: dict[str, _File], key: str, name: str, mime: str) -> None:
    # Another click ends a callback where it asks for the session's state, so these callbacks don't.
    wanted[key] = _File(uuid4().hex, name, mime)


def _forget(wanted: dict[str, _File], key: str) -> None:
    wanted.pop(key, None)
