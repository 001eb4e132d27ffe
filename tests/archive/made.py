"""A synthetic archive with planted structure, for tests and benchmarks of what is asked of archives.

Where features fire is drawn; no model is run. All files of `archive.schema` are written and agree with each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.schema import (
    ACTIVATIONS,
    DOCUMENTS,
    EXCERPTS,
    FEATURES,
    STATISTICS,
    TOKENS,
    UNREAD,
    Manifest,
)
from feature_tracker.feature import Feature
from feature_tracker.labels.columns import KEYS
from feature_tracker.labels.csv_files import save_labels
from feature_tracker.labels.table import LabelTable

SENTENCES = (
    "Net sales rose 5.4% from a year ago.",
    "The bank set aside more for bad loans.",
    "Inflation stayed above the target of the central bank.",
    "The company repaid its term loan in March.",
    "Operating margin narrowed as freight costs rose.",
    "The board declared a dividend of $0.30 a share.",
    "Deposits fell as savers moved to money market funds.",
    "Management expects demand to soften next year.",
    "The court dismissed the claims against the company.",
    "Unemployment was little changed in June.",
    "The committee left its policy rate unchanged.",
    "Wages grew faster than prices.",
    "Stores in the South sold more than a year ago.",
    "Credit spreads tightened after the report.",
)
_PIECES = [[match.span() for match in re.finditer(r"\s?(?:[\w$%.]*[\w%]|[^\w\s])", sentence)] for sentence in SENTENCES]
_SINK_STRENGTH = 40


def write_archive(
    folder: Path,
    *,
    n_documents: int = 60,
    n_latents: Mapping[int, int] | None = None,
    tokens: tuple[int, int] = (20, 60),
    groups: Sequence[str] = ("bank", "retail"),
    lifted: Mapping[Feature, tuple[str, float]] | None = None,
    longer: Mapping[str, float] | None = None,
    rising: Mapping[Feature, float] | None = None,
    linked: Mapping[Feature, Feature] | None = None,
    themes: Sequence[Sequence[Feature]] = (),
    fires: float = 0.05,
    spread: float = 0.5,
    company_spread: float = 0.0,
    n_companies: int = 10,
    days: tuple[date, date] = (date(2022, 1, 1), date(2024, 12, 31)),
    undated: float = 0.0,
    sinks: float = 0.02,
    documents_a_part: int = 100,
    bundle: str = "made",
    seed: int = 0,
) -> Archive:
    """Write an archive, and open it. Documents are named `company-03 2024-05-17 #00012`.

    5,000 documents of 2,000 features (`n_latents=dict.fromkeys((4, 10, 16, 22, 28), 400)`, `fires=0.02`) take some
    seconds.

    Args:
        tokens: a document has about so many, at least and at most.
        groups: a company's documents are all of one group.
        lifted: in documents of this group, the feature fires so many times as often.
        longer: documents of this group have so many times as many tokens.
        rising: from the first day to the last, how often the feature fires is multiplied by so much.
        linked: a feature fires where another one of a shallower layer does, and as strongly but for noise.
        themes: features that are frequent in the same documents.
        fires: mean share of the tokens on which a feature fires.
        spread: standard deviation over documents of the logarithm of that share.
        company_spread: the same over companies.
        undated: share of the documents without a date.
        sinks: share of the tokens that are attention sinks, on which features fire far more strongly.
    """
    rng = np.random.default_rng(seed)
    n_latents = dict(n_latents or {4: 20, 10: 20})
    folder.mkdir(parents=True)
    manifest = Manifest(
        bundle=bundle, fingerprint="0" * 12, model="made up", dtype="float32", window=512, n_latents=n_latents
    )
    manifest.save(folder)
    documents = _documents(n_documents, groups, n_companies, days, undated, rng)
    rates = {
        layer: _rates(
            layer, n, documents, days, rng,
            lifted=lifted or {}, rising=rising or {}, themes=themes, spread=spread, company_spread=company_spread,
        ) * fires
        for layer, n in n_latents.items()
    }  # fmt: skip
    wanted = rng.integers(tokens[0], tokens[1] + 1, n_documents)
    wanted = (wanted * [(longer or {}).get(group, 1.0) for group in documents["group"]]).astype(int)
    kept: dict[int, list[pd.DataFrame]] = {layer: [] for layer in n_latents}
    n_counted = first_token = 0
    for part, start in enumerate(range(0, n_documents, documents_a_part)):
        rows = documents.iloc[start : start + documents_a_part]
        token_rows, texts = _tokens(rows["document"], wanted, first_token, sinks, rng)
        first_token += len(token_rows)
        by_layer = dict(_activations(token_rows, rows["document"].to_numpy(), rates, linked or {}, rng))
        counted = token_rows[~token_rows["attention_sink"]]
        sizes = {"n_tokens": token_rows, "n_counted": counted}
        for name, frame in sizes.items():
            rows = rows.assign(**{name: frame.groupby("document").size().reindex(rows["document"]).to_numpy()})
        rows = rows.assign(first_token=token_rows["token"].min() + rows["n_tokens"].cumsum() - rows["n_tokens"])
        _write(folder / "documents", part, rows.assign(notes="", text=texts), DOCUMENTS)
        _write(folder / "tokens", part, token_rows, TOKENS)
        _write(folder / "unread", part, _unread() if part == 0 else _unread().iloc[:0], UNREAD)
        for layer, activations in by_layer.items():
            _write(folder / "activations" / f"layer={layer}", part, activations, ACTIVATIONS)
            kept[layer].append(activations[~activations.pop("attention_sink")])
        n_counted += len(counted)
        by_document = _by_document({layer: frames[-1] for layer, frames in kept.items()}, rows)
        _write(folder / "features", part, by_document, FEATURES)
        done = folder / "parts" / f"{part:05}.json"
        done.parent.mkdir(exist_ok=True)
        done.write_text(json.dumps({"documents": len(rows)}))
    everything = {layer: pd.concat(frames, ignore_index=True) for layer, frames in kept.items()}
    _write_table(folder / "statistics.parquet", _statistics(everything, n_latents, n_counted), STATISTICS)
    _write_table(folder / "excerpts.parquet", _excerpts(everything), EXCERPTS)
    return Archive.open(folder)


def made_labels(n_latents: Mapping[int, int], *, bundle: str = "made") -> LabelTable:
    """Labels `thing 3 of layer 4`, with the measures from which distinctiveness is computed."""
    index = pd.MultiIndex.from_tuples([(layer, i) for layer, n in n_latents.items() for i in range(n)], names=KEYS)
    rng = np.random.default_rng(0)
    return LabelTable(
        pd.DataFrame(
            {
                "label": [f"thing {i} of layer {layer}" for layer, i in index],
                "kind": "topic",
                "f1": np.where(rng.random(len(index)) < 0.8, 0.9, 0.5),
                "precision": 0.8,
                "recall": 0.8,
                "n_positive": 16,
                "n_negative": 16,
                "f1_method": "blind judge",
                "specialization_index": rng.uniform(-1, 1, len(index)),
                "specialization": 0.0,
                "finance_mean": 0.1,
                "general_mean": 0.1,
                "finance_tokens": 1_000_000,
                "general_tokens": 1_000_000,
                "density": 0.05,
                "mean_activation": 0.1,
                "max_activation": 9.0,
                "q50": 1.0,
                "q90": 2.0,
                "q99": 3.0,
                "window_mean": rng.uniform(0.03, 0.09, len(index)),
                "window_sd": 0.03,
                "window_sd_64": 0.05,
                "autocorrelation": 0.0,
                "bundle": bundle,
            },
            index=index,
        )
    )


def write_bundle(folder: Path, n_latents: Mapping[int, int], *, bundle: str = "made") -> Path:
    """Write `made_labels` and a bundle that names them; gives its TOML file. Model and SAEs are not there."""
    save_labels(made_labels(n_latents, bundle=bundle), folder / f"{bundle}.csv")
    path = folder / f"{bundle}.toml"
    path.write_text(
        f'title = "Made up"\nlayers = {sorted(n_latents)}\nwindow = 512\nmax_tokens = 1000\ndtype = "float32"\n'
        f'sae_folder = "saes"\nlabels = "{bundle}.csv"\n[model]\nfolder = "model"\n'
    )
    return path


def _documents(
    n: int, groups: Sequence[str], n_companies: int, days: tuple[date, date], undated: float, rng: np.random.Generator
) -> pd.DataFrame:
    company = rng.integers(0, n_companies, n)
    day = np.array([days[0] + timedelta(int(at)) for at in rng.integers(0, (days[1] - days[0]).days + 1, n)])
    names = [f"company-{c:02} {d} #{i:05}" for i, (c, d) in enumerate(zip(company, day, strict=True))]
    day[rng.random(n) < undated] = None
    return pd.DataFrame(
        {
            "document": np.arange(n),
            "name": names,
            "source": [f"filings.jsonl, line {i + 1}" for i in range(n)],
            "date": day,
            "group": [groups[c % len(groups)] if groups else None for c in company],
            "company": company,
        }
    )


def _rates(
    layer: int,
    n: int,
    documents: pd.DataFrame,
    days: tuple[date, date],
    rng: np.random.Generator,
    *,
    lifted: Mapping[Feature, tuple[str, float]],
    rising: Mapping[Feature, float],
    themes: Sequence[Sequence[Feature]],
    spread: float,
    company_spread: float,
) -> np.ndarray:
    """(n_documents, n) how often features fire, 1 on average but for what is planted."""
    company = documents["company"].to_numpy()
    logarithm = rng.normal(0, 0.4, n) + spread * rng.standard_normal((len(documents), n))
    logarithm += company_spread * rng.standard_normal((company.max() + 1, n))[company]
    for number, theme in enumerate(themes):
        shared = 2 * max(spread, 0.3) * np.random.default_rng(number).standard_normal(len(documents))
        for feature in theme:
            if feature.layer == layer:
                logarithm[:, feature.index] += shared
    for feature, (group, factor) in lifted.items():
        if feature.layer == layer:
            logarithm[documents["group"] == group, feature.index] += np.log(factor)
    length = (days[1] - days[0]).days
    elapsed = np.array([(day - days[0]).days / length if day is not None else 0.5 for day in documents["date"]])
    for feature, factor in rising.items():
        if feature.layer == layer:
            logarithm[:, feature.index] += np.log(factor) * elapsed
    return np.exp(logarithm)


def _tokens(
    documents: pd.Series, wanted: np.ndarray, first_token: int, sinks: float, rng: np.random.Generator
) -> tuple[pd.DataFrame, list[str]]:
    frames, texts = [], []
    for document in documents:
        spans: list[tuple[int, int]] = []
        text = ""
        while len(spans) < wanted[document]:
            number = rng.integers(len(SENTENCES))
            text += " " if text else ""
            spans += [(len(text) + start, len(text) + end) for start, end in _PIECES[number]]
            text += SENTENCES[number]
        start, end = np.array(spans).T
        frames.append(pd.DataFrame({"document": document, "start": start, "end": end}))
        texts.append(text)
    frame = pd.concat(frames, ignore_index=True)
    frame["token"] = first_token + frame.index
    frame["token_id"] = frame["end"] - frame["start"]
    is_sink = rng.random(len(frame)) < sinks
    return frame.assign(attention_sink=is_sink & (frame["start"] > 0)), texts


def _activations(
    tokens: pd.DataFrame,
    documents: np.ndarray,
    rates: Mapping[int, np.ndarray],
    linked: Mapping[Feature, Feature],
    rng: np.random.Generator,
) -> Iterator[tuple[int, pd.DataFrame]]:
    """Each layer's activations, sorted by feature, document and token, with the column `attention_sink`."""
    n_tokens = tokens.groupby("document").size().to_numpy()
    first = np.cumsum(n_tokens) - n_tokens
    sink = tokens["attention_sink"].to_numpy()
    drawn: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    for layer, rate in sorted(rates.items()):
        n = rate.shape[1]
        counts = rng.poisson(np.minimum(rate[documents], 1 / 0.05) * n_tokens[:, None]).ravel()
        document, feature = np.divmod(np.repeat(np.arange(counts.size), counts), n)
        row = first[document] + (rng.random(len(document)) * n_tokens[document]).astype(np.int64)
        key = np.unique(feature * len(tokens) + row)
        feature, row = np.divmod(key, len(tokens))
        value = rng.gamma(2.0, 0.5, len(row)) + 0.05
        for target, source in linked.items():
            if target.layer == layer:
                at = drawn[source.layer][0] == source.index
                others = feature != target.index
                rows, values = drawn[source.layer][1][at], drawn[source.layer][2][at]
                feature = np.concatenate([feature[others], np.full(len(rows), target.index)])
                row = np.concatenate([row[others], rows])
                value = np.concatenate([value[others], values * rng.lognormal(0, 0.2, len(rows))])
        order = np.lexsort((row, feature))
        drawn[layer] = feature[order], row[order], value[order]
        feature, row, value = drawn[layer]
        value = np.where(sink[row], _SINK_STRENGTH * value, value).astype(np.float32)
        yield (
            layer,
            pd.DataFrame(
                {
                    "document": tokens["document"].to_numpy(np.int32)[row],
                    "token": tokens["token"].to_numpy()[row],
                    "feature": feature.astype(np.int32),
                    "activation": (value.view(np.uint32) & np.uint32(0xFFFE0000)).view(np.float32),
                    "attention_sink": sink[row],
                }
            ),
        )


def _by_document(activations: Mapping[int, pd.DataFrame], documents: pd.DataFrame) -> pd.DataFrame:
    n_counted = documents.set_index("document")["n_counted"]
    frames = []
    for layer, frame in activations.items():
        by_strength = frame.assign(root=np.sqrt(frame["activation"])).sort_values("activation", kind="stable")
        grouped = by_strength.groupby(["document", "feature"])
        sums = grouped.agg(
            max=("activation", "max"), mean=("activation", "sum"), root_mean=("root", "sum"),
            share=("root", "size"), peak=("token", "last"),
        ).reset_index()  # fmt: skip
        n = n_counted[sums["document"]].to_numpy()
        means = {name: sums[name] / n for name in ("mean", "root_mean", "share")}
        frames.append(sums.assign(layer=layer, **means))
    return pd.concat(frames).sort_values(["document", "layer", "feature"])


def _statistics(activations: Mapping[int, pd.DataFrame], n_latents: Mapping[int, int], n_counted: int) -> pd.DataFrame:
    frames = []
    for layer, frame in activations.items():
        grouped = frame.groupby("feature")
        quantiles = grouped["activation"].quantile([0.5, 0.9, 0.99]).unstack().set_axis(["q50", "q90", "q99"], axis=1)
        sums = pd.DataFrame(
            {
                "n_documents": grouped["document"].nunique(),
                "density": grouped.size() / n_counted,
                "mean": grouped["activation"].sum() / n_counted,
                "max": grouped["activation"].max(),
            }
        ).join(quantiles)
        sums = sums.reindex(pd.RangeIndex(n_latents[layer], name="feature"))
        zeros = dict.fromkeys(("n_documents", "density", "mean", "max"), 0)
        frames.append(sums.fillna(zeros).reset_index().assign(layer=layer))
    return pd.concat(frames)


def _excerpts(activations: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    frames = []
    for layer, frame in activations.items():
        by_strength = frame.sort_values(["feature", "activation"], ascending=[True, False], kind="stable")
        strongest = by_strength.drop_duplicates(["feature", "document"]).groupby("feature").head(8)
        place = by_strength.groupby("feature").cumcount()
        n = by_strength.groupby("feature")["activation"].transform("size")
        spread = by_strength[(place % np.maximum(n // 8, 1) == 0) & (place // np.maximum(n // 8, 1) < 8)]
        frames += [strongest.assign(layer=layer, kind="top"), spread.assign(layer=layer, kind="spread")]
    return pd.concat(frames).sort_values(["layer", "feature", "kind"], kind="stable")


def _unread() -> pd.DataFrame:
    return pd.DataFrame(
        {"name": ["scan.pdf"], "source": ["scan.pdf"], "reason": ["Its pages are pictures and hold no text."]}
    )


def _write(folder: Path, part: int, frame: pd.DataFrame, schema: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _write_table(folder / f"part-{part:05}.parquet", frame, schema)


def _write_table(path: Path, frame: pd.DataFrame, schema: Any) -> None:
    pq.write_table(pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False, safe=False), path)
