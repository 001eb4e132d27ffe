from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from feature_tracker.cli.page import main
from tests.support import ROOT


def wait_until_served(port: int) -> None:
    for _ in range(150):
        try:
            urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=5).close()
            time.sleep(0.5)  # Streamlit serves the page a moment before it handles signals
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"nothing is served on port {port}")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_page_without_a_traceback(ended_by: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "feature_tracker", "page", "--no-browser", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as page:
        try:
            wait_until_served(port)
            page.send_signal(ended_by)
            output, _ = page.communicate(timeout=30)
        finally:
            page.kill()
    assert page.returncode == 0
    assert "Traceback" not in output
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ss") is None, reason="no ss on this machine; on Debian: apt install iproute2")
@pytest.mark.parametrize(
    ("command", "address"),
    [
        pytest.param("{python} -m feature_tracker page --no-browser --port {port}", "127.0.0.1", id="command"),
        pytest.param(
            "{python} -m feature_tracker page --no-browser --port {port} --address 0.0.0.0", "0.0.0.0", id="asked"
        ),
        pytest.param(
            "{python} -m streamlit run feature_activation_tracker.py --server.port {port}", "127.0.0.1", id="streamlit"
        ),
        pytest.param("make -o .venv/app.stamp app PORT={port}", "127.0.0.1", id="make"),
    ],
)
def test_the_page_listens_to_this_machine_alone_unless_asked(command: str, address: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = command.format(python=sys.executable, port=port).split()
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True) as page:
        try:
            wait_until_served(port)
            listening = subprocess.run(["ss", "-ltnH", f"sport = :{port}"], capture_output=True, text=True, check=True)
        finally:
            os.killpg(page.pid, signal.SIGKILL)
    assert [line.split()[3] for line in listening.stdout.splitlines()] == [f"{address}:{port}"]


def test_an_address_of_another_machine_is_refused_by_name() -> None:
    ended = CliRunner().invoke(main, ["--no-browser", "--address", "192.0.2.1", "--port", "18502"])
    assert ended.exit_code == 1
    assert "192.0.2.1" in ended.output
    assert "--address" in ended.output


@pytest.mark.skipif(os.name != "posix", reason="elsewhere the page is a child process")
def test_the_named_folder_of_archives_reaches_the_page_in_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, str]] = []
    monkeypatch.setattr(os, "execve", lambda _program, _command, environment: given.append(environment))
    monkeypatch.setattr(subprocess, "call", lambda *_, **__: 0)
    monkeypatch.delenv("FEATURE_TRACKER_ARCHIVES", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "archives").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    for options in ([], ["--archives", "archives"]):
        CliRunner().invoke(main, ["--no-browser", "--port", port, *options])
    assert "FEATURE_TRACKER_ARCHIVES" not in given[0]
    assert given[1]["FEATURE_TRACKER_ARCHIVES"] == str(tmp_path / "archives")
    refused = CliRunner().invoke(main, ["--archives", "absent"])
    assert refused.exit_code == 2
    assert len(given) == 2
