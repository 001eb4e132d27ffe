"""The files of an archive, and the columns of its tables.

    archive.json                            what it was made with; see `Manifest`
    documents/part-00000.parquet            one row a document that was read, in the order of `document`
    tokens/part-00000.parquet               one row a token, BOS left out
    activations/layer=4/part-00000.parquet  one row an activation, sorted by feature, document and token
    features/part-00000.parquet             one row a document and feature that fires in it, sorted by document
    unread/part-00000.parquet               one row a document that could not be read
    parts/00000.json                        written last: a part without it is not there
    statistics.parquet                      one row a feature, over all documents
    excerpts.parquet                        where each feature fires most, and where it fires at other strengths

`token` is the number of a token in the archive, from 0, BOS left out: the tokens of document d are those from its
`first_token` on. `token` alone joins activations, peaks and excerpts with the table `tokens`.

A part is some consecutive documents. Everything of a part carries its number, so that a run that was killed throws away
what is unfinished and goes on after the last part that is there.

An archive holds the documents' text: whoever may read it may read them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from feature_tracker.errors import TrackerError
from feature_tracker.files import read_json, replacing

SCHEMA = 2
"""Version of what is described here."""
SIGNIFICANT_BITS = 7
"""Of an activation: it is rounded by at most 0.8 %. Each more would add 20 bytes a token, of 290."""

DOCUMENTS = pa.schema(
    [
        ("document", pa.int32()),  # from 0, in the order in which they were read
        ("name", pa.string()),  # unique within the archive
        ("source", pa.string()),  # the file, and the row or line in it
        ("date", pa.date32()),  # null where unknown
        ("group", pa.string()),  # null where there is none
        ("first_token", pa.int64()),  # `token` of its first token
        ("n_tokens", pa.int32()),  # BOS left out
        ("n_counted", pa.int32()),  # of them, those that aren't marked `attention_sink`
        ("notes", pa.string()),  # how the file was read, in sentences; empty where there is nothing to say
        ("text", pa.large_string()),
    ]
)
TOKENS = pa.schema(
    [
        ("document", pa.int32()),
        ("token", pa.int64()),
        ("token_id", pa.int32()),
        ("start", pa.int32()),  # characters of the document's text
        ("end", pa.int32()),
        # Not counted: an attention sink, or the first token after a cut between windows; see `Trace.counted`.
        ("attention_sink", pa.bool_()),
    ]
)
ACTIVATIONS = pa.schema(
    [
        ("document", pa.int32()),
        ("token", pa.int64()),
        ("feature", pa.int32()),  # latent index; the layer is the folder's
        # Above 0, of `SIGNIFICANT_BITS`. Files hold it in half precision where that changes no value:
        # read them with this schema, as `Archive.activations` does.
        ("activation", pa.float32()),
    ]
)
FEATURES = pa.schema(
    [
        ("document", pa.int32()),
        ("layer", pa.int16()),
        ("feature", pa.int32()),
        # Over the tokens that are counted, as `tracing.rank.aggregate` has them:
        ("max", pa.float32()),
        ("mean", pa.float32()),
        ("root_mean", pa.float32()),  # mean of sqrt(activation)
        ("share", pa.float32()),  # of the counted tokens on which it fires
        ("peak", pa.int64()),  # token of `max`
    ]
)
UNREAD = pa.schema([("name", pa.string()), ("source", pa.string()), ("reason", pa.string())])
STATISTICS = pa.schema(
    [
        ("layer", pa.int16()),
        ("feature", pa.int32()),
        ("n_documents", pa.int32()),  # in which it fires
        ("density", pa.float64()),  # share of the counted tokens on which it fires
        ("mean", pa.float64()),  # over all counted tokens
        ("q50", pa.float32()),  # of its activations above 0
        ("q90", pa.float32()),
        ("q99", pa.float32()),
        ("max", pa.float32()),
    ]
)
EXCERPTS = pa.schema(
    [
        ("layer", pa.int16()),
        ("feature", pa.int32()),
        ("kind", pa.string()),  # "top": the strongest of different documents; "spread": at other strengths
        ("document", pa.int32()),
        ("token", pa.int64()),
        ("activation", pa.float32()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an archive was made with. A run goes on only in an archive that was made with the same.

    Attributes:
        bundle: its name.
        fingerprint: of the SAEs; see `corpus.origin.fingerprint`.
        model: with its revision, as `corpus.origin.Origin` has it.
        dtype: of the model's arithmetic.
        window: tokens, BOS included.
        n_latents: by layer.
    """

    bundle: str
    fingerprint: str
    model: str
    dtype: str
    window: int
    n_latents: dict[int, int]

    @property
    def layers(self) -> list[int]:
        """SAE layers, ascending."""
        return sorted(self.n_latents)

    def save(self, folder: Path) -> None:
        """Write `archive.json`."""
        with replacing(folder / "archive.json") as beside:
            beside.write_text(json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read `archive.json`.

        Raises:
            TrackerError: there is none, it is damaged, or it is of another version.
        """
        path = folder / "archive.json"
        if not path.exists():
            raise TrackerError(
                f"{folder} is no archive: it has no archive.json. Make one with `feature-tracker corpus run FOLDER "
                f"--out {folder}`."
            )
        record = read_json(path)
        if not isinstance(record, dict) or record.get("schema") != SCHEMA:
            found = record.get("schema") if isinstance(record, dict) else "something else"
            raise TrackerError(
                f"{path} is of version {found}; this program reads version {SCHEMA}. Run the documents again "
                "into a new folder."
            )
        try:
            n_latents = {int(layer): int(n) for layer, n in record.pop("n_latents").items()}
            del record["schema"]
            return cls(n_latents=n_latents, **record)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TrackerError(f"{path} is damaged ({error}). Run the documents again into a new folder.") from None
