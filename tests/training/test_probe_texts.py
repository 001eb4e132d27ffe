from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from feature_tracker.errors import TrackerError
from feature_tracker.training.probe_texts import SAE_PROBES, TASKS, ProbeTask, draw_texts, load_tasks

TASK = ProbeTask("rates", "1_rates", "yes")


def table(rows: list[tuple[str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["prompt", "target"])


def many(n: int) -> pd.DataFrame:
    return table([(f"text {row}", ("yes", "no", "other")[row % 3]) for row in range(n)])


def test_answers_are_equal_in_number_in_both_halves() -> None:
    drawn = draw_texts(TASK, many(90), examples=40, seed=0)
    assert len(drawn.texts) == len(set(drawn.texts)) == 40
    for half in (drawn.train, ~drawn.train):
        assert half.sum() == 20 and drawn.positive[half].sum() == 10
    truth = dict(many(90).to_numpy().tolist())
    assert [truth[text] == "yes" for text in drawn.texts] == drawn.positive.tolist()


def test_the_rarer_answer_limits_the_number() -> None:
    drawn = draw_texts(TASK, many(30), examples=400, seed=0)
    assert len(drawn.texts) == 20 and drawn.positive.sum() == 10


def test_the_seed_alone_decides_the_draw() -> None:
    first, again, other = (draw_texts(TASK, many(90), examples=40, seed=seed) for seed in (0, 0, 1))
    assert first.texts == again.texts != other.texts
    shuffled = draw_texts(TASK, many(90).sample(frac=1, random_state=0), examples=40, seed=0)
    assert shuffled.texts == first.texts


def test_repeated_blank_and_ambiguous_texts_are_left_out() -> None:
    rows = [("a", "yes")] * 5 + [("b", "no")] * 3 + [("both", "yes"), ("both", "no"), (" ", "yes"), ("", "no")]
    drawn = draw_texts(TASK, table(rows), examples=400, seed=0)
    assert sorted(drawn.texts) == ["a", "b"]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a made-up release of sae-probes before any that is installed."""

    def installing(release: str) -> None:
        (tmp_path / f"sae_probes-{release}.dist-info").mkdir()
        metadata = f"Metadata-Version: 2.4\nName: sae-probes\nVersion: {release}\n"
        (tmp_path / f"sae_probes-{release}.dist-info" / "METADATA").write_text(metadata)
        folder = tmp_path / "sae_probes" / "data" / "cleaned_data"
        folder.mkdir(parents=True)
        for name in {task.file for task in TASKS}:
            targets = [*(task.positive for task in TASKS if task.file == name), "NA"]
            rows = "".join(f'"{target}, {row}",12,{target}\n' for target in targets for row in range(30))
            with pa.output_stream(str(folder / f"{name}.csv.zst"), compression="zstd") as file:
                file.write(f"prompt,prompt_len,target\n{rows}".encode())
        monkeypatch.syspath_prepend(tmp_path)

    return installing


def test_texts_come_from_the_installed_package(install) -> None:
    install(SAE_PROBES)
    tasks = load_tasks(examples=20, seed=3)
    assert [task.task for task in tasks] == [task.name for task in TASKS]
    assert {len(task.texts) for task in tasks} == {20}
    for task, drawn in zip(TASKS, tasks, strict=True):
        assert [text.startswith(f"{task.positive}, ") for text in drawn.texts] == drawn.positive.tolist()


def test_another_release_is_refused(install) -> None:
    install("0.3.0")
    with pytest.raises(TrackerError, match=rf"installed is 0\.3\.0.*--no-deps sae-probes=={SAE_PROBES}"):
        load_tasks()


def test_the_real_texts_suffice_for_every_task() -> None:
    try:
        tasks = load_tasks()
    except TrackerError as error:
        pytest.skip(str(error))
    for task in tasks:
        assert len(task.texts) == len(set(task.texts)) == 400, task.task
        assert task.positive.sum() == np.sum(task.positive & task.train) * 2 == 200
