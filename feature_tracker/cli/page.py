"""`feature-tracker page`: open the page in a browser."""

from __future__ import annotations

import socket
import subprocess
import sys

import click

from feature_tracker.cli.options import telling_errors
from feature_tracker.errors import TrackerError
from feature_tracker.files import data_root


@click.command("page")
@click.option("--port", type=click.IntRange(1, 65535), default=8502, show_default=True, help="The page's port.")
@click.option("--no-browser", is_flag=True, help="Only serve the page.")
@telling_errors
def main(port: int, no_browser: bool) -> None:
    """Serve the page at http://localhost:PORT until you press Ctrl-C."""
    _check_port(port)
    # -P: a `feature_tracker` or `streamlit` in the working folder must not stand in for the installed one.
    command = [sys.executable, "-P", "-m", "streamlit", "run", str(data_root() / "feature_activation_tracker.py")]
    command += ["--server.port", str(port), "--server.headless", str(no_browser).lower()]
    try:
        sys.exit(subprocess.call(command))
    except KeyboardInterrupt:
        sys.exit(130)


def _check_port(port: int) -> None:
    """Refuse a port that another program serves.

    Raises:
        TrackerError: it is taken, or the system doesn't give it to this user.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was just given up is free
        try:
            probe.bind(("", port))
        except OSError as error:
            raise TrackerError(
                f"Port {port} can't be used ({error.strerror}). The page may be open already: look at "
                f"http://localhost:{port}. Else stop the program that uses the port, or name another with --port."
            ) from None
