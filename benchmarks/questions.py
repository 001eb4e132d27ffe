"""`python -m benchmarks.questions`: is what is planted in an archive found, and nothing where nothing is?

Archives are made up (`tests/archive/made.py`), so that what is true of them is known.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.correlation import correlate_archive
from feature_tracker.archive.groups import compare_groups
from feature_tracker.archive.nearest import nearest_to_document
from feature_tracker.archive.selection import units_of
from feature_tracker.archive.themes import archive_themes
from feature_tracker.archive.trends import feature_trends
from feature_tracker.feature import Feature
from tests.archive.made import made_labels, write_archive

LATENTS = {4: 100, 10: 100}
PLANTED = [Feature(4, 10 * i) for i in range(10)] + [Feature(10, 10 * i) for i in range(10)]
_LARGE: dict[int, int] = dict.fromkeys((4, 10, 16, 22, 28), 400)
_ARCHIVES, _SHUFFLES = 10, 200


@click.command()
@click.option("--shuffles", default=_SHUFFLES, show_default=True)
@click.option("--documents", default=5000, show_default=True, help="Of the archive that is timed.")
def main(shuffles: int, documents: int) -> None:
    """Measure; prints one JSON object."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        figures: dict[str, Any] = {
            "groups_power_and_false_discovery_share": groups_power(place),
            "groups_shuffled_with_any_discovery": shuffled_groups(place, shuffles),
            "groups_by_company_with_any_discovery": companies(place),
            "trend_power_and_false_discovery_share": trend_power(place),
            "trend_shuffled_with_any_discovery": shuffled_dates(place, shuffles // 2),
            "correlation_largest_error": correlation_error(place),
            "seconds": seconds(place, documents),
        }
    figures["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
    click.echo(json.dumps(figures, indent=2))


def groups_power(place: Path) -> dict[str, float]:
    """Of 20 features of 200 that fire 1.5 times as often in a half of 400 documents."""
    found, false = [], []
    for seed in range(_ARCHIVES):
        lifted = dict.fromkeys(PLANTED, ("bank", 1.5))
        archive = write_archive(
            place / f"power{seed}", n_documents=400, n_latents=LATENTS, lifted=lifted, n_companies=400, seed=seed
        )
        bank = (archive.documents["group"] == "bank").to_numpy()
        apart = {Feature(*row) for row in compare_groups(archive, bank, ~bank).apart[["layer", "feature"]].to_numpy()}
        found.append(len(apart & set(PLANTED)) / len(PLANTED))
        false.append(len(apart - set(PLANTED)) / max(len(apart), 1))
    return {"power": float(np.mean(found)), "false": round(float(np.mean(false)), 4)}


def shuffled_groups(place: Path, shuffles: int) -> dict[str, float]:
    """Share of shuffles of the groups in which any feature seems to set them apart."""
    even = write_archive(place / "even", n_documents=400, n_latents=LATENTS, n_companies=400)
    longer = write_archive(
        place / "longer", n_documents=400, n_latents=LATENTS, n_companies=400, longer={"bank": 5.0}, fires=0.02
    )
    rng = np.random.default_rng(0)

    def chosen(size: int) -> Callable[[Archive], np.ndarray]:
        return lambda archive: np.isin(np.arange(400), rng.choice(400, size, replace=False))

    def by_length(archive: Archive) -> np.ndarray:
        """Long documents four times as often as short ones."""
        is_long = (archive.documents["group"] == "bank").to_numpy()
        return rng.random(400) < np.where(is_long, 0.8, 0.2)

    cases = {
        "200 and 200": (even, chosen(200)),
        "20 and 380": (even, chosen(20)),
        "5 and 395": (even, chosen(5)),
        "of unlike length": (longer, by_length),
    }
    return {
        name: float(np.mean([_any_apart(archive, choose(archive)) for _ in range(shuffles)]))
        for name, (archive, choose) in cases.items()
    }


def _any_apart(archive: Archive, first: np.ndarray, units: np.ndarray | None = None) -> bool:
    return not compare_groups(archive, first, ~first, units=units).apart.empty


def companies(place: Path) -> dict[str, float]:
    """Groups of ten companies each that differ from each other, documents against companies as voices."""
    shares = {"documents": [], "companies": []}
    for seed in range(2 * _ARCHIVES):
        archive = write_archive(
            place / f"companies{seed}",
            n_documents=400,
            n_latents=LATENTS,
            n_companies=20,
            company_spread=0.5,
            seed=seed,
        )
        bank = (archive.documents["group"] == "bank").to_numpy()
        shares["documents"].append(_any_apart(archive, bank))
        shares["companies"].append(_any_apart(archive, bank, units_of(archive.documents, r"company-\d+")))
    return {name: float(np.mean(share)) for name, share in shares.items()}


def trend_power(place: Path) -> dict[str, float]:
    """Of 20 features of 200 that double in three years, in 600 documents by month."""
    found, false = [], []
    for seed in range(_ARCHIVES):
        rising = dict.fromkeys(PLANTED, 2.0)
        archive = write_archive(place / f"trend{seed}", n_documents=600, n_latents=LATENTS, rising=rising, seed=seed)
        rows = feature_trends(archive).trending[["layer", "feature"]].to_numpy()
        trending = {Feature(*row) for row in rows}
        found.append(len(trending & set(PLANTED)) / len(PLANTED))
        false.append(len(trending - set(PLANTED)) / max(len(trending), 1))
    return {"power": float(np.mean(found)), "false": round(float(np.mean(false)), 4)}


def shuffled_dates(place: Path, shuffles: int) -> float:
    """Share of shuffles of the dates in which any feature seems to have a trend."""
    archive = write_archive(
        place / "dates", n_documents=300, n_latents=LATENTS, days=(date(2020, 1, 1), date(2024, 12, 31))
    )
    rng = np.random.default_rng(0)
    dates = archive.documents["date"].to_numpy().copy()
    n_trending = 0
    for _ in range(shuffles):
        archive.documents["date"] = rng.permutation(dates)
        n_trending += not feature_trends(archive).trending.empty
    return n_trending / shuffles


def correlation_error(place: Path) -> float:
    """Largest difference from numpy's r over all tokens at once."""
    archive = write_archive(
        place / "correlation", n_documents=500, n_latents={4: 50, 10: 50}, linked={Feature(10, 3): Feature(4, 2)}
    )
    tokens = archive.dataset("tokens").to_table().to_pandas()
    tokens["row"] = np.arange(len(tokens))
    rows = tokens.set_index("token")["row"]
    columns = []
    for layer, n in archive.manifest.n_latents.items():
        table = archive.activations(layer).to_table().to_pandas().join(rows, on="token")
        dense = np.zeros((len(tokens), n))
        dense[table["row"], table["feature"]] = table["activation"]
        columns.append(dense[~tokens["attention_sink"].to_numpy()])
    expected = np.corrcoef(np.hstack(columns), rowvar=False)[:50, 50:]
    return float(np.nanmax(np.abs(correlate_archive(archive).r[4, 10] - expected)))


def seconds(place: Path, documents: int) -> dict[str, float]:
    """Each question of a large archive."""
    archive = write_archive(place / "large", n_documents=documents, n_latents=_LARGE, fires=0.02, tokens=(15, 35))
    bank = (archive.documents["group"] == "bank").to_numpy()
    labels = made_labels(_LARGE)
    questions: dict[str, Callable[[], object]] = {
        "groups": lambda: compare_groups(archive, bank, ~bank),
        "trend": lambda: feature_trends(archive),
        "themes": lambda: archive_themes(archive, labels),
        "nearest": lambda: nearest_to_document(archive, 0),
        "correlation": lambda: correlate_archive(archive),
    }
    times = {}
    for name, ask in questions.items():
        start = time.perf_counter()
        ask()
        times[name] = round(time.perf_counter() - start, 2)
    return times


if __name__ == "__main__":
    main()
