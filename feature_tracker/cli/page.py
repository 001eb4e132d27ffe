"""`feature-tracker page`: serve the page and open it in a browser."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys

import click

from feature_tracker.cli.options import telling_errors
from feature_tracker.errors import TrackerError
from feature_tracker.files import data_root


@click.command("page")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=8502, show_default=True, help="Port to serve the page on."
)
@click.option("--no-browser", is_flag=True, help="Don't open a browser.")
@telling_errors
def main(port: int, no_browser: bool) -> None:
    """Serve the page at http://localhost:PORT and open it in a browser. Ctrl-C ends it."""
    _check_port(port)
    # -P: a `feature_tracker` or `streamlit` in the working folder must not stand in for the installed one.
    command = [sys.executable, "-P", "-m", "streamlit", "run", str(data_root() / "feature_activation_tracker.py")]
    command += ["--server.port", str(port), "--server.headless", str(no_browser).lower()]
    if os.name == "posix":
        # Streamlit takes this process's place, so that Ctrl-C and `kill` reach it and nothing outlives the command.
        os.execv(sys.executable, command)
    try:
        sys.exit(subprocess.call(command))
    except KeyboardInterrupt:
        sys.exit(130)


def _check_port(port: int) -> None:
    """Refuse a port on which the page couldn't be reached as localhost.

    Raises:
        TrackerError: another program listens on it, over IPv4 or IPv6, or the system doesn't give it to this user.
    """
    try:
        _bind(port)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise TrackerError(
            f"Port {port} can't be used ({reason}). The page may be open already: look at http://localhost:{port}. "
            "Otherwise stop the program that uses the port, or name another with --port."
        ) from None


def _bind(port: int) -> None:
    """Take a port for a moment, as Streamlit will: on IPv6 and IPv4 at once, or on IPv4 alone without IPv6.

    The port is never listened on: a program that waits for the page would take that for the page.
    """
    if socket.has_dualstack_ipv6():
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                _take(probe, port)
            return
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):  # IPv6 is there, but switched off
                raise
    with socket.socket() as probe:
        _take(probe, port)


def _take(probe: socket.socket, port: int) -> None:
    if os.name == "posix":  # a port whose last connections are still closing is free; Windows would share a port in use
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind(("", port))
