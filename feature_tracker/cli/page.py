"""`feature-tracker page`: serve the page and open it in a browser."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import click

from feature_tracker.bundles.settings import child_environment
from feature_tracker.cli.options import telling_errors
from feature_tracker.errors import TrackerError
from feature_tracker.files import data_root


@click.command("page")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=8502, show_default=True, help="Port to serve the page on."
)
@click.option(
    "--address",
    default="127.0.0.1",
    show_default=True,
    help="IP address to serve the page on. The default can be reached from this machine only; 0.0.0.0 lets in all who "
    "can reach it. The page asks nobody to sign in: docs/serving.md says how to put a proxy with sign-in before it.",
)
@click.option(
    "--archives",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of archives that `feature-tracker corpus run` made, or one archive, for the page's Many documents. "
    "Everybody who reaches the page may read their documents. FEATURE_TRACKER_ARCHIVES where left out.",
)
@click.option("--no-browser", is_flag=True, help="Don't open a browser.")
@telling_errors
def main(port: int, address: str, archives: Path | None, no_browser: bool) -> None:
    """Serve the page at http://localhost:PORT and open it in a browser. Ctrl-C ends it."""
    _check_place(address, port)
    # -P: a `feature_tracker` or `streamlit` in the working folder must not stand in for the installed one.
    command = [sys.executable, "-P", "-m", "streamlit", "run", str(data_root() / "feature_activation_tracker.py")]
    command += ["--server.address", address, "--server.port", str(port)]
    command += ["--server.headless", str(no_browser).lower()]
    environment = child_environment(**({"FEATURE_TRACKER_ARCHIVES": str(archives.resolve())} if archives else {}))
    if os.name == "posix":
        # Streamlit takes this process's place, so that Ctrl-C and `kill` reach it and nothing outlives the command.
        os.execve(sys.executable, command, environment)
    try:
        sys.exit(subprocess.call(command, env=environment))
    except KeyboardInterrupt:
        sys.exit(130)


def _check_place(address: str, port: int) -> None:
    """Refuse an address and port on which the page couldn't be reached.

    Raises:
        TrackerError: another program listens on it, the system doesn't give it to this user, or the address isn't one
            of this machine's.
    """
    for place in (address, "::1"):  # where another program listens on ::1, a browser meets that one as localhost
        try:
            _take(place, port)
        except OSError as error:
            if place != address and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                continue  # this machine has no IPv6, or it is switched off
            reason = error.strerror or str(error)
            raise TrackerError(
                f"Port {port} of {place} can't be used ({reason}). The page may be open already: look at "
                f"http://localhost:{port}. Otherwise stop the program that uses the port, name another with --port, or "
                "name an address of this machine with --address."
            ) from None


def _take(address: str, port: int) -> None:
    """Bind a port for a moment. It is never listened on: a program that waits for the page would take that for it."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        if os.name == "posix":  # a port whose last connections are still closing is free; Windows would share one
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address, port))
