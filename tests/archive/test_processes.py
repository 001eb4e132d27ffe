"""Runs as processes of their own: killed at random moments, and their peak of memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from feature_tracker.archive import parts
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.load import save_sae
from feature_tracker.sae.topk import Sae
from tests.archive.test_run import assert_same
from tests.support import ROOT, SENTENCES

N_KILLS = 10
BUNDLE = """
title = "Tiny"
layers = [1, 3, 4]
window = 64
max_tokens = 500
dtype = "float32"
sae_folder = "{folder}/saes"
labels = "{folder}/labels.csv"
[model]
folder = "{folder}/model"
"""


@pytest.fixture
def bundle(tmp_path: Path, tiny_model: LanguageModel, tiny_saes: dict[int, Sae]) -> Path:
    tiny_model.model.save_pretrained(tmp_path / "model")
    tiny_model.tokenizer.save_pretrained(tmp_path / "model")
    for layer, sae in tiny_saes.items():
        save_sae(tmp_path / "saes", layer, sae, dtype=torch.float32)
    (tmp_path / "tiny.toml").write_text(BUNDLE.format(folder=tmp_path))
    return tmp_path / "tiny.toml"


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_moment_is_gone_on_with_to_the_same_rows(bundle: Path, tmp_path: Path) -> None:
    documents = tmp_path / "documents"
    documents.mkdir()
    for number in range(60):
        (documents / f"{number:02}.txt").write_text(SENTENCES[7 * number :] * (number % 3 + 1) if number % 9 else " ")
    subprocess.run(
        [sys.executable, "-m", "tests.archive.killed_runs", bundle, documents, tmp_path / "runs", "0", str(N_KILLS)],
        check=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    for number in range(N_KILLS):
        assert_same(tmp_path / "runs" / f"killed-{number}", tmp_path / "runs" / "undisturbed")


@pytest.mark.slow
def test_ten_times_the_documents_take_no_more_memory(bundle: Path, tmp_path: Path) -> None:
    def peak(n_documents: int) -> int:
        """Kilobytes."""
        lines = (json.dumps({"text": SENTENCES[number % 50 :] * 4}) + "\n" for number in range(n_documents))
        (tmp_path / f"{n_documents}.jsonl").write_text("".join(lines))
        command = [sys.executable, "-m", "feature_tracker", "corpus", "run", tmp_path / f"{n_documents}.jsonl"]
        options = ["--out", tmp_path / f"out-{n_documents}", "--bundle", bundle]
        process = subprocess.Popen([*command, *options], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        assert status == 0
        return usage.ru_maxrss

    n_of_two_parts = 2 * parts.PART_CHARACTERS // (4 * len(SENTENCES))
    assert peak(10 * n_of_two_parts) < 1.1 * peak(n_of_two_parts)
