"""kill -9 at random moments, then the same run again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

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
