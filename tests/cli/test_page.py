from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest


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
