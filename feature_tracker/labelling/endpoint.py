"""Put questions to a language model behind an OpenAI-compatible server.

Every reply is written down as it comes, before anything else is done with it, so that no answer that was paid for is
lost or asked for twice.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from openai import APIConnectionError, APIStatusError, OpenAI, OpenAIError
from pydantic import TypeAdapter, ValidationError

from feature_tracker.errors import TrackerError
from feature_tracker.files import numbered_lines
from feature_tracker.labelling.answers import Judgement, LabelAnswer, write_records
from feature_tracker.labelling.prompts import EXPLAIN_RULES, JUDGE_RULES, explain_prompt, judge_prompt
from feature_tracker.labelling.questions import ExplainQuestion, JudgeQuestion
from feature_tracker.progress import Progress, silent

Question = ExplainQuestion | JudgeQuestion

MOST_ATTEMPTS = 3
"""How often a question is asked whose replies are no answer."""
_RETRIES = 5
"""Of a request that fails for reasons that may pass, by the client, with back-off."""

_EXPLAIN_FORM = (
    'Answer with one JSON object and nothing else: {"label": "…", "detail": "…", "kind": "…", "confidence": "…"}'
)
_JUDGE_FORM = (
    "Answer with one JSON object and nothing else, in which the number of every excerpt stands in one of two lists: "
    '{"yes": [1, 4], "no": [2, 3]}'
)


@dataclass(frozen=True)
class Reply:
    """What a model said to a question.

    Attributes:
        question: its name.
        model: who replied.
        text: as it came.
    """

    question: str
    model: str
    text: str


class Asked(NamedTuple):
    """What came of the questions.

    Attributes:
        answers: in the order of the questions.
        unanswered: names of the questions whose replies were no answer.
    """

    answers: list[LabelAnswer | Judgement]
    unanswered: list[str]


class Reader:
    """A model behind a server.

    Args:
        endpoint: address of the API, such as `http://localhost:8000/v1`.
        model: name of the model there.
        timeout: seconds to wait for a reply.
        retries: of a request that fails for reasons that may pass.

    Attributes:
        model: as given.

    The key is read from the environment variable `OPENAI_API_KEY`; servers of one's own want none.
    """

    def __init__(self, endpoint: str, model: str, *, timeout: float = 120.0, retries: int = _RETRIES) -> None:
        key = os.environ.get("OPENAI_API_KEY", "none")
        self._client = OpenAI(base_url=endpoint, api_key=key, timeout=timeout, max_retries=retries)
        self._endpoint, self.model = endpoint, model

    def ask(self, question: Question) -> Reply:
        """One question's reply, whatever it says.

        Raises:
            TrackerError: the server can't be reached, refuses, or doesn't answer in time, and trying again didn't help.
        """
        if isinstance(question, ExplainQuestion):
            rules, prompt, form = EXPLAIN_RULES, explain_prompt(question), _EXPLAIN_FORM
        else:
            rules, prompt, form = JUDGE_RULES, judge_prompt(question), _JUDGE_FORM
        try:
            completion = self._client.chat.completions.create(
                model=self.model,
                messages=[{"role": "system", "content": rules}, {"role": "user", "content": f"{prompt}\n\n{form}"}],
            )
            text = completion.choices[0].message.content or ""
        except APIStatusError as error:
            raise self._failed(f"it answered with status {error.status_code}: {error.message}") from None
        except APIConnectionError as error:  # a timeout is one
            raise self._failed(f"it can't be reached, or doesn't answer in time: {error.message}") from None
        except (OpenAIError, AttributeError, IndexError, TypeError, ValueError) as error:
            raise self._failed(f"its reply is not that of an OpenAI-compatible server: {error}") from None
        return Reply(name_of(question), self.model, text)

    def _failed(self, reason: str) -> TrackerError:
        return TrackerError(
            f"{self._endpoint} gave no reply for model {self.model}; {reason}. What it answered so far is kept: "
            "run the same command again to go on."
        )


def ask_all(
    questions: Sequence[Question],
    reader: Reader,
    out: Path,
    *,
    concurrency: int = 4,
    progress: Progress = silent,
) -> Asked:
    """Ask every question that has no answer yet, and write the answers to a file.

    Replies are kept beside it, in `<out>.replies.jsonl`: a later call goes on from there.

    Args:
        concurrency: requests at once.

    Raises:
        TrackerError: see `Reader.ask`; a file can't be written, or holds another model's replies.
    """
    journal = out.with_name(f"{out.name}.replies.jsonl")
    answers: dict[str, LabelAnswer | Judgement] = {}
    attempts: Counter[str] = Counter()
    by_name = {name_of(question): question for question in questions}

    def take(reply: Reply) -> None:
        question = by_name.get(reply.question)
        if question is not None:
            attempts[reply.question] += 1
            answer = answer_of(question, reply.text)
            if answer is not None:
                answers[reply.question] = answer

    def is_open(name: str) -> bool:
        return name not in answers and attempts[name] < MOST_ATTEMPTS

    for reply in _kept_replies(journal):
        if reply.model != reader.model:
            raise TrackerError(
                f"{journal} holds replies of {reply.model}, not of {reader.model}. Name another file with --out."
            )
        take(reply)
    try:
        with journal.open("a", encoding="utf-8") as file:

            def keep(reply: Reply) -> None:
                file.write(json.dumps(asdict(reply), ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
                take(reply)
                progress(f"{len(answers):,} answers", len(answers) / len(by_name))

            _ask_open(by_name, is_open, reader.ask, keep, concurrency)
    except OSError as error:
        raise TrackerError(f"{journal} can't be written ({error.strerror or error}).") from None
    finally:
        write_records(out, [answers[name] for name in by_name if name in answers])
    return Asked(
        [answers[name] for name in by_name if name in answers], [name for name in by_name if name not in answers]
    )


def _ask_open(
    questions: dict[str, Question],
    is_open: Callable[[str], bool],
    ask: Callable[[Question], Reply],
    keep: Callable[[Reply], None],
    concurrency: int,
) -> None:
    """Ask round after round while a question is open.

    At the first error no more are asked; replies that are under way are kept.
    """
    while waiting := [name for name in questions if is_open(name)]:
        names = iter(waiting)
        failed: TrackerError | None = None
        with ThreadPoolExecutor(concurrency) as pool:
            running: set[Future[Reply]] = set()
            while True:
                while len(running) < concurrency and failed is None and (name := next(names, None)) is not None:
                    running.add(pool.submit(ask, questions[name]))
                if not running:
                    break
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    try:
                        keep(future.result())
                    except TrackerError as error:
                        failed = error
        if failed is not None:
            raise failed


def name_of(question: Question) -> str:
    """A question's name in the file of replies."""
    return question.name if isinstance(question, ExplainQuestion) else question.question


def answer_of(question: Question, text: str) -> LabelAnswer | Judgement | None:
    """The answer in a reply; `None` where there is none, or one that can't be used."""
    try:
        record = dict(json.loads(text[text.index("{") : text.rindex("}") + 1]))
        if isinstance(question, ExplainQuestion):
            fields = {"layer": question.layer, "feature": question.feature}
            label = TypeAdapter(LabelAnswer).validate_python(record | fields)
            return None if label.fault() else label
        judgement = TypeAdapter(Judgement).validate_python(record | {"question": question.question})
        return None if judgement.fault(len(question.excerpts)) else judgement
    except (ValidationError, ValueError, TypeError, RecursionError):
        return None


def _kept_replies(journal: Path) -> Iterator[Reply]:
    """Replies of earlier runs; a line that a kill cut short is dropped from the file."""
    if not journal.exists():
        return
    content = journal.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with journal.open("r+b") as file:
            file.truncate(len(whole))
    for number, line in numbered_lines(journal):
        try:
            yield TypeAdapter(Reply).validate_json(line)
        except ValidationError:
            raise TrackerError(
                f"{journal}, line {number}: not a reply. Correct or delete that line, or name another file with --out."
            ) from None
