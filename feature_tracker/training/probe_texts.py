"""Labelled texts for sparse probing: twelve yes-or-no tasks of the package sae-probes.

The texts serve evaluation only: nothing is trained on them, and none of them is in this project. They lie in the
package itself, so they need no network. Its programs are not used, nor the libraries that only these need.

Source: Kantamneni et al. 2025, Are Sparse Autoencoders Useful? A Case Study in Sparse Probing.
"""

from __future__ import annotations

import importlib.metadata
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from feature_tracker.errors import TrackerError

SAE_PROBES = "0.4.2"
"""The release of sae-probes whose texts are used; scores on the texts of another would not compare."""


class ProbeTask(NamedTuple):
    """A question about a text.

    Attributes:
        name: what it is called here.
        file: its file in sae-probes. A file of several classes gives one of them against all others.
        positive: the target of the texts whose answer is yes.
    """

    name: str
    file: str
    positive: str


TASKS = (
    # AG News, a headline with the first lines: what an article is about. sae-probes has the right classes under wrong
    # names: its Technology is AG News's business, its Politics the world, its Entertainment science and technology.
    ProbeTask("news: business", "97_news_class", "Technology"),
    ProbeTask("news: world", "97_news_class", "Politics"),
    ProbeTask("news: science", "97_news_class", "Entertainment"),
    ProbeTask("news: sport", "97_news_class", "Sport"),
    # Subjects in other kinds of text: a company's help desk, pages of the web, abstracts, headlines.
    ProbeTask("ticket: purchase", "103_it_tick", "Purchase"),
    ProbeTask("page: politician", "62_wikidata_occupation_ispolitician", "1"),
    ProbeTask("abstract: heart and vessels", "146_disease_class_cardiovascular diseases", "1"),
    ProbeTask("headline: China", "23_headline_ischina", "True"),
    # Meaning that is no subject: praise or blame, in a long text and in a sentence.
    ProbeTask("review: five stars", "157_amazon_5star", "1"),
    ProbeTask("sentence: praise of a film", "113_movie_sent", "1"),
    # Form: whether the words "credit card" end the text rather than one of the two; how advertisers write.
    ProbeTask("phrase: credit card", "68_credit-card", "bigram"),
    ProbeTask("message: spam", "96_spam_is", "1"),
)
"""What an analyst asks of features: mostly what a text is about, then what it says of it, then how it is written.

Left out are names without a text around them (towns, athletes, books); questions whose answer needs knowledge rather
than reading (arithmetic, examinations); AG News in SAEBench's form, where many of the other texts are programs; and
texts of thousands of characters, which would take most of the time.
"""


class LabelledTexts(NamedTuple):
    """The texts of one task, as many with the answer yes as with no; no text is there twice.

    Attributes:
        task: name of the task.
        texts: n of them.
        positive: (n,) bool, whether the answer is yes.
        train: (n,) bool, True for the half that probes are fitted on, False for the half they are scored on.
    """

    task: str
    texts: tuple[str, ...]
    positive: np.ndarray
    train: np.ndarray


def load_tasks(*, examples: int = 400, seed: int = 0) -> list[LabelledTexts]:
    """Draw the texts of `TASKS`.

    Args:
        examples: most texts of a task.
        seed: of the draw, and of the split into halves.

    Raises:
        TrackerError: the right release of sae-probes isn't installed.
    """
    _require_packages()
    folder = importlib.metadata.distribution("sae-probes").locate_file("sae_probes/data/cleaned_data")
    tasks: list[LabelledTexts] = []
    for task in TASKS:
        with pa.input_stream(str(folder / f"{task.file}.csv.zst"), compression="zstd") as file:
            table = pd.read_csv(file, usecols=["prompt", "target"], dtype=str, keep_default_na=False)
        tasks.append(draw_texts(task, table, examples=examples, seed=seed))
    return tasks


def draw_texts(task: ProbeTask, table: pd.DataFrame, *, examples: int, seed: int) -> LabelledTexts:
    """Draw a task's texts from a table with the columns `prompt` and `target`, both text.

    sae-probes repeats texts to make classes equal, up to a third of a file. Each is taken once, or a probe would be
    scored on texts that it was fitted on. A text with both answers is left out.
    """
    answers = (table["target"] == task.positive).groupby(table["prompt"])
    answer = answers.first()[answers.nunique() == 1]
    answer = answer[answer.index.str.strip() != ""]
    positive = answer.to_numpy()
    generator = np.random.default_rng(seed)
    by_answer = [generator.permutation(np.flatnonzero(positive == value)) for value in (False, True)]
    n_each = min(examples // 2, *map(len, by_answer))
    rows = np.concatenate([chosen[:n_each] for chosen in by_answer])
    train = np.tile(np.arange(n_each) < n_each // 2, 2)
    return LabelledTexts(task.name, tuple(answer.index[rows]), positive[rows], train)


def _require_packages() -> None:
    try:
        release = importlib.metadata.version("sae-probes")
    except importlib.metadata.PackageNotFoundError:
        release = "none"
    if release != SAE_PROBES:
        raise TrackerError(
            f"Sparse probing takes its texts from sae-probes {SAE_PROBES}; installed is {release}. Install it without "
            f"the libraries that it asks for, which don't go with this project's: "
            f"pip install --no-deps sae-probes=={SAE_PROBES}"
        )
