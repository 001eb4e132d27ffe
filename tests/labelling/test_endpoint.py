from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai", reason="the extra `label` is not installed")

from feature_tracker.errors import TrackerError
from feature_tracker.labelling.answers import Judgement, LabelAnswer, read_records
from feature_tracker.labelling.endpoint import MOST_ATTEMPTS, Reader, answer_of, ask_all
from feature_tracker.labelling.questions import ExplainQuestion, JudgeQuestion, MarkedToken

EXPLAIN = [ExplainQuestion("tiny", 1, latent, False, 0.1, [], 0, 0.5, [], []) for latent in range(6)]
JUDGE = [JudgeQuestion(f"q{n}", "tiny", "A label", "", False, [MarkedToken("a ", "b", " c")] * 3) for n in range(4)]
LABEL = json.dumps({"label": "Court rulings", "detail": "Lawsuits.", "kind": "topic", "confidence": "high"})
JUDGEMENT = json.dumps({"yes": [1], "no": [2, 3]})


class Server:
    """An OpenAI-compatible server whose behaviour a test decides.

    Attributes:
        reply: called with the user's prompt and the number of the request; gives a status and the model's text.
        asked: how often each question was asked, by its first line.
    """

    def __init__(self) -> None:
        self.reply: Callable[[str, int], tuple[int, str]] = lambda _prompt, _number: (200, LABEL)
        self.asked: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.most_at_once = self.at_once = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                prompt = body["messages"][-1]["content"]
                with server.lock:
                    server.asked[prompt.splitlines()[0]] += 1
                    number = sum(server.asked.values())
                    server.at_once += 1
                    server.most_at_once = max(server.most_at_once, server.at_once)
                status, text = server.reply(prompt, number)
                with server.lock:
                    server.at_once -= 1
                content = {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"]} | {
                    "choices": [
                        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
                    ]
                }
                payload = text.encode() if status == 299 else json.dumps(content).encode()
                try:
                    self.send_response(200 if status == 299 else status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(payload)))
                    self.send_header("retry-after-ms", "1")
                    self.end_headers()
                    self.wfile.write(payload)
                except (BrokenPipeError, ConnectionResetError):  # the client has given up
                    pass

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Generator[Server]:
    server = Server()
    yield server
    server.close()


def reader(server: Server, *, timeout: float = 10.0, retries: int = 3, model: str = "m") -> Reader:
    return Reader(server.url, model, timeout=timeout, retries=retries)


def test_every_question_is_asked_once_and_answered(server: Server, tmp_path: Path) -> None:
    def slow(_prompt: str, _number: int) -> tuple[int, str]:
        time.sleep(0.05)
        return 200, LABEL

    server.reply, out = slow, tmp_path / "answers.jsonl"
    asked = ask_all(EXPLAIN, reader(server), out, concurrency=3)
    assert [answer.name for answer in asked.answers if isinstance(answer, LabelAnswer)] == [
        f"L1/F{n}" for n in range(6)
    ]
    assert asked.unanswered == []
    assert read_records(out, LabelAnswer) == asked.answers
    assert set(server.asked.values()) == {1}
    assert 1 < server.most_at_once <= 3
    again = ask_all(EXPLAIN, reader(server), out)
    assert again == asked
    assert set(server.asked.values()) == {1}


def test_a_judge_answers_by_number(server: Server, tmp_path: Path) -> None:
    server.reply = lambda _prompt, _number: (200, f"Of course.\n```json\n{JUDGEMENT}\n```")
    asked = ask_all(JUDGE, reader(server), tmp_path / "answers.jsonl")
    assert asked.answers == [Judgement(f"q{n}", [1], [2, 3]) for n in range(4)]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_failures_that_pass_are_tried_again(server: Server, tmp_path: Path, status: int) -> None:
    seen: Counter[str] = Counter()

    def reply(prompt: str, _number: int) -> tuple[int, str]:
        seen[prompt] += 1
        return (status, "busy") if seen[prompt] < 3 else (200, LABEL)

    server.reply = reply
    asked = ask_all(EXPLAIN[:2], reader(server), tmp_path / "answers.jsonl", concurrency=1)
    assert len(asked.answers) == 2
    assert set(server.asked.values()) == {3}


@pytest.mark.parametrize(
    "text", ["", "I can't say.", "{}", "{" * 100_000, '{"label": 3}', LABEL.replace("topic", "theme"), "[1]", "}{"]
)
def test_nonsense_is_asked_again_a_few_times_and_then_named(server: Server, tmp_path: Path, text: str) -> None:
    server.reply = lambda prompt, _number: (200, text if "L1/F1" in prompt.splitlines()[0] else LABEL)
    asked = ask_all(EXPLAIN[:3], reader(server), tmp_path / "answers.jsonl")
    assert asked.unanswered == ["L1/F1"]
    assert server.asked["### L1/F1"] == MOST_ATTEMPTS
    assert server.asked["### L1/F0"] == 1
    ask_all(EXPLAIN[:3], reader(server), tmp_path / "answers.jsonl")
    assert server.asked["### L1/F1"] == MOST_ATTEMPTS  # replies that were paid for are not bought again


def test_an_endpoint_that_hangs_is_given_up_and_what_was_answered_is_kept(server: Server, tmp_path: Path) -> None:
    hang = threading.Event()

    def reply(prompt: str, _number: int) -> tuple[int, str]:
        if "L1/F2" in prompt.splitlines()[0]:
            hang.wait(20)
        return 200, LABEL

    server.reply = reply
    began = time.monotonic()
    with pytest.raises(TrackerError, match=r"doesn't answer in time.*What it answered so far is kept"):
        ask_all(EXPLAIN[:4], reader(server, timeout=0.3, retries=1), tmp_path / "answers.jsonl", concurrency=1)
    assert time.monotonic() - began < 10
    hang.set()
    assert [answer.feature for answer in read_records(tmp_path / "answers.jsonl", LabelAnswer)] == [0, 1]
    server.reply = lambda _prompt, _number: (200, LABEL)
    asked = ask_all(EXPLAIN[:4], reader(server), tmp_path / "answers.jsonl")
    assert len(asked.answers) == 4
    assert server.asked["### L1/F0"] == server.asked["### L1/F1"] == 1


@pytest.mark.parametrize(
    ("status", "text", "message"),
    [
        (401, "no", "status 401"),
        (404, "no", "status 404"),
        (299, "<html>hello</html>", "is not that of an OpenAI-compatible server"),
        (299, '{"choices": []}', "is not that of an OpenAI-compatible server"),
    ],
)
def test_a_server_that_refuses_is_told(server: Server, tmp_path: Path, status: int, text: str, message: str) -> None:
    server.reply = lambda _prompt, _number: (status, text)
    with pytest.raises(TrackerError, match=message):
        ask_all(EXPLAIN[:2], reader(server, retries=0), tmp_path / "answers.jsonl", concurrency=1)


def test_no_server_is_told(tmp_path: Path) -> None:
    nobody = Reader("http://127.0.0.1:9/v1", "m", timeout=1.0, retries=0)
    with pytest.raises(TrackerError, match="can't be reached"):
        ask_all(EXPLAIN[:1], nobody, tmp_path / "answers.jsonl")


def test_a_run_that_was_killed_in_the_middle_of_a_line_goes_on(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    ask_all(EXPLAIN[:3], reader(server), out, concurrency=1)
    journal = tmp_path / "answers.jsonl.replies.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-20])
    out.unlink()
    asked = ask_all(EXPLAIN, reader(server), out, concurrency=1)
    assert len(asked.answers) == 6
    assert [server.asked[f"### L1/F{n}"] for n in range(6)] == [1, 1, 2, 1, 1, 1]
    assert journal.read_bytes().count(b"\n") == 6


def test_replies_of_another_model_are_not_taken(server: Server, tmp_path: Path) -> None:
    ask_all(EXPLAIN[:1], reader(server), tmp_path / "answers.jsonl")
    with pytest.raises(TrackerError, match="holds replies of m, not of other"):
        ask_all(EXPLAIN[:1], reader(server, model="other"), tmp_path / "answers.jsonl")
    journal = tmp_path / "answers.jsonl.replies.jsonl"
    journal.write_text('{"question": 3}\n')
    with pytest.raises(TrackerError, match="line 1: not a reply"):
        ask_all(EXPLAIN[:1], reader(server), tmp_path / "answers.jsonl")


def test_a_reply_decides_no_name_of_its_own() -> None:
    foreign = json.dumps({"layer": 9, "feature": 9} | json.loads(LABEL))
    answer = answer_of(EXPLAIN[0], foreign)
    assert isinstance(answer, LabelAnswer)
    assert answer.name == "L1/F0"
    assert answer_of(JUDGE[0], json.dumps({"question": "z", "yes": [1], "no": []})) == Judgement("q0", [1], [])
    assert answer_of(JUDGE[0], json.dumps({"yes": [9], "no": []})) is None
