"""The columns of a label table, one record each.

Reading, checking and writing a table, ranking, the page's tables and the README in `labels/` follow from these records.
To add a column, add its record here and fill it where it is computed.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Literal

from feature_tracker.labels.scores import MARKS, NOT_SCORED

Kind = Literal["text", "choice", "count", "number"]
Group = Literal["feature", "label", "score", "specialization", "activation"]
Tables = Literal[
    "every table",
    "imported tables",
    "imported and judged tables",
    "written tables",
    "judged tables",
    "tables of one bundle",
    "measured tables",
]

UNLABELLED = "unlabelled"
"""The label of a feature that has none."""
KINDS = ("topic", "word", "number", "punctuation", "grammar", "position", "mixture")
"""What sort of thing a label names: what a passage is about, certain words, or the form of the text."""
FORM_KINDS = ("number", "punctuation", "grammar", "position")
"""Kinds that tell of a text's form and not of its subject."""
MEASURED, REPORTED, UNVERIFIED = "measured", "reported", "reported-unverified"


@dataclass(frozen=True)
class Column:
    """One column of a label table.

    Attributes:
        name: in the file and in every frame.
        kind: `text`; `choice`, one of `values`; `count`, a whole number; `number`, any finite one. A number that isn't
            known is NaN.
        group: what the column is about. Of an imported table, numbers of the group `score` are written with all their
            digits; those of the group `specialization` are hidden where the table can't vouch for them.
        help: what a cell says, in one sentence.
        title: heading on the page; empty where the page doesn't show the column.
        format: how the page writes a number, in Python's format language.
        low, high: limits of a number, both allowed.
        values: what a `choice` allows.
        blank: text for a feature that has no row in the table.
        filled: whether every row must have a text.
        tables: which tables have the column.
    """

    name: str
    kind: Kind
    group: Group
    help: str
    title: str = ""
    format: str = ""
    low: float = -math.inf
    high: float = math.inf
    values: tuple[str, ...] = ()
    blank: str = ""
    filled: bool = False
    tables: Tables = "every table"

    @property
    def is_number(self) -> bool:
        """Whether cells are numbers."""
        return self.kind in ("count", "number")

    @property
    def missing(self) -> str | float:
        """Cell for a feature that has no row in the table."""
        return math.nan if self.is_number else self.blank

    @property
    def limits(self) -> str:
        """What a cell must be beyond its kind, in words; empty where its kind says it all."""
        if self.values:
            return f"empty or one of {', '.join(filter(None, self.values))}"
        if math.isfinite(self.high):
            return f"between {self.low:g} and {self.high:g}"
        return f"{self.low:g} or more" if math.isfinite(self.low) else ""


COLUMNS = (
    Column(
        "layer", "count", "feature", "Decoder block after which the SAE reads the residual stream, counted from 0.",
        "Layer", low=0,
    ),
    Column(
        "feature", "count", "feature",
        "Latent of that layer's SAE, counted from 0; the same number in another layer is another feature.",
        "Feature", low=0,
    ),
    Column(
        "label", "text", "label", "What the feature fires on, in words.", "Label", blank=UNLABELLED, filled=True,
    ),
    Column(
        "detail", "text", "label", "What somebody must know to predict where the feature fires, in a sentence.",
        tables="written tables",
    ),
    Column(
        "kind", "choice", "label", "What sort of thing the label names.", "Kind", values=("", *KINDS),
        tables="written tables",
    ),
    Column(
        "confidence", "choice", "label", "How sure the reader was who wrote the label.",
        values=("", "high", "medium", "low"), tables="written tables",
    ),
    Column(
        "top_words", "text", "label",
        "Words on which the feature fires, or that mark its passages; also the label where nobody has written one.",
        tables="written tables",
    ),
    Column(
        "original_label", "text", "label", "The label as the imported file has it, before cleaning.",
        tables="imported tables",
    ),
    Column("label_source", "text", "label", "File or run that the label comes from.", tables="imported tables"),
    Column(
        "f1", "number", "score",
        "How well the label predicts, on text it was not made from, where the feature fires.",
        "F1", ".2f", low=0, high=1,
    ),
    Column(
        "f1_strong", "number", "score", "The same with the recall of the strongest tenth of firings.",
        "F1 of strong firings", ".2f", low=0, high=1, tables="judged tables",
    ),
    Column(
        "f1_uniform", "number", "score", "The same with every firing weighed alike.",
        "F1 of all firings alike", ".2f", low=0, high=1, tables="judged tables",
    ),
    Column(
        "f1_hard", "number", "score", "F1 where the silent places are those easily taken for firings.",
        "F1 against lookalikes", ".2f", low=0, high=1, tables="judged tables",
    ),
    Column(
        "f1_always_yes", "number", "score",
        "F1 of always guessing that it fires, on the sample that the label was scored on.",
        "F1 of guessing", ".2f", low=0, high=1, tables="imported tables",
    ),
    Column(
        "precision", "number", "score", "Of the words the label points at, the share on which the feature fires.",
        "Precision", ".2f", low=0, high=1,
    ),
    Column(
        "recall", "number", "score", "Of the words on which the feature fires, the share the label points at.",
        "Recall", ".2f", low=0, high=1,
    ),
    Column(
        "recall_0_10", "number", "score", "Recall of the strongest tenth of firings.", low=0, high=1,
        tables="judged tables",
    ),
    Column(
        "recall_10_30", "number", "score", "Recall of the next fifth.", low=0, high=1, tables="judged tables",
    ),
    Column(
        "recall_30_60", "number", "score", "Recall of the next three tenths.", low=0, high=1, tables="judged tables",
    ),
    Column(
        "recall_60_100", "number", "score", "Recall of the weakest four tenths.", low=0, high=1,
        tables="judged tables",
    ),
    Column(
        "accuracy", "number", "score", "Share of the words judged right.", low=0, high=1, tables="imported tables",
    ),
    Column(
        "balanced_accuracy", "number", "score",
        "Mean of the shares of firing and silent words judged right. Guessing scores 0.5.",
        "Balanced accuracy", ".2f", low=0, high=1, tables="imported tables",
    ),
    Column(
        "n_positive", "count", "score", "Words on which the feature fires, in the sample that the label was scored on.",
        "Firing examples", ",.0f", low=0,
    ),
    Column(
        "n_negative", "count", "score", "Words on which it doesn't, in the same sample.",
        "Silent examples", ",.0f", low=0,
    ),
    Column(
        "n_hard", "count", "score", "Silent words easily taken for firings, in the same sample.",
        "Lookalikes", ",.0f", low=0, tables="judged tables",
    ),
    Column(
        "n_unanswered", "count", "score", "Questions that the judge gave no answer to; they enter no score.",
        "Unanswered", ",.0f", low=0, tables="imported and judged tables",
    ),
    Column(
        "f1_method", "text", "score",
        "How it was scored: `blind judge`, another tool's method, `top words` as a rule, or `reported`: unknown.",
    ),
    Column("judge", "text", "score", "Who judged.", "Judge", tables="judged tables"),
    Column("date", "text", "score", "When, as year-month-day.", "Judged on", tables="judged tables"),
    Column(
        "mark", "choice", "score", "What speaks against a label that is not reliable.",
        "Why not", values=tuple(MARKS), blank=NOT_SCORED, tables="imported tables",
    ),
    Column(
        "specialization_index", "number", "specialization",
        "From −1, fires on general text only, to +1, fires on finance text only.",
        "Specialization", "+.2f", low=-1, high=1,
    ),
    Column(
        "specialization", "number", "specialization",
        "Mean activation per token on finance text minus the same on general text.", "Specialization, raw", "+.4f",
    ),
    Column(
        "specialization_source", "choice", "specialization",
        "Measured here, or reported by a file whose numbers can, or can't, be means of top-k activations.",
        values=("", MEASURED, REPORTED, UNVERIFIED), tables="imported tables",
    ),
    Column("finance_mean", "number", "specialization", "Mean activation over all tokens of finance text."),
    Column("general_mean", "number", "specialization", "Mean activation over all tokens of general text."),
    Column(
        "finance_tokens", "count", "specialization",
        "Tokens of finance text measured, without BOS and attention sinks.", low=0,
    ),
    Column(
        "general_tokens", "count", "specialization",
        "Tokens of general text measured, without BOS and attention sinks.", low=0,
    ),
    Column(
        "density", "number", "activation", "Share of the tokens of a large body of text on which the feature fires.",
        "Density", ".1%", low=0, high=1,
    ),
    Column("mean_activation", "number", "activation", "Mean activation over all tokens measured.", low=0),
    Column("max_activation", "number", "activation", "Largest activation on any token measured.", low=0),
    Column("q50", "number", "activation", "Median activation over the tokens on which the feature fires.", low=0),
    Column("q90", "number", "activation", "90 % of the tokens on which the feature fires lie below.", low=0),
    Column("q99", "number", "activation", "99 % of the tokens on which the feature fires lie below.", low=0),
    Column(
        "window_mean", "number", "activation",
        "Mean over pieces of text of 256 tokens of a piece's mean of the square roots of activations.", low=0,
        tables="measured tables",
    ),
    Column(
        "window_sd", "number", "activation", "Standard deviation of the same means over the pieces.", low=0,
        tables="measured tables",
    ),
    Column(
        "window_sd_64", "number", "activation", "The same over pieces of 64 tokens.", low=0, tables="measured tables",
    ),
    Column(
        "autocorrelation", "number", "activation",
        "Correlation of activations 20 tokens apart. Above 0.2 the feature fires on what a passage is about.",
        low=-1, high=1, tables="measured tables",
    ),
    Column(
        "bundle", "text", "feature", "Bundle whose features the rows are about.", tables="tables of one bundle",
    ),
)  # fmt: skip
"""Every column, in the order in which files and the page have them. Activations are in units of the residual stream."""

BY_NAME = {column.name: column for column in COLUMNS}
SHOWN = tuple(column for column in COLUMNS if column.title)
"""The columns that rankings carry and the page shows."""


def names(columns: Iterable[Column]) -> list[str]:
    """The columns' names, in order."""
    return [column.name for column in columns]


KEYS = ["layer", "feature"]
"""The two columns that name a row's feature. Rows are joined by them and never by their order."""
REQUIRED = names(column for column in COLUMNS if column.tables == "every table" and column.name not in KEYS)
IMPORTED = names(column for column in COLUMNS if column.tables.startswith("imported"))
QUANTILES = ["q50", "q90", "q99", "max_activation"]
"""Activations below which 50, 90, 99 and 100 % of the tokens lie on which a feature fires."""


def columns_of(present: Iterable[Hashable]) -> list[str]:
    """The columns of a table in their order, without `KEYS`: all that are required, and of the others those present."""
    present = {*present, *REQUIRED}
    return [column.name for column in COLUMNS if column.name in present and column.name not in KEYS]


def columns_table() -> str:
    """All columns as a Markdown table, for `labels/README.md`."""
    lines = ["| column | in | cells | what it says |", "|---|---|---|---|"]
    kinds = {"text": "text", "choice": "", "count": "whole number", "number": "number"}
    for column in COLUMNS:
        cells = ", ".join(filter(None, (kinds[column.kind], column.limits)))
        lines.append(f"| `{column.name}` | {column.tables} | {cells} | {column.help} |")
    return "\n".join(lines)
