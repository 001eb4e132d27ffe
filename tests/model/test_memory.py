from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from feature_tracker.errors import TrackerError
from feature_tracker.model.memory import Free, check_fits, free_memory, needed_bytes, stored_tensors
from tests.support import write_index


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A million weights in two files: half of them embeddings, half a block's matrix."""
    save_file({"model.embed_tokens.weight": torch.zeros(1000, 500)}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"model.layers.0.mlp.up_proj.weight": torch.zeros(500, 1000, dtype=torch.float16)},
              tmp_path / "model-00002-of-00002.safetensors", metadata={"format": "pt"})  # fmt: skip
    write_index(tmp_path)
    return tmp_path


def test_needs_follow_from_the_headers_whatever_the_files_are_stored_in(folder: Path) -> None:
    assert {tensor.shape for tensor in stored_tensors(folder)} == {(1000, 500), (500, 1000)}
    assert needed_bytes(folder, "float32") == pytest.approx(4e6, rel=0.03)
    assert needed_bytes(folder, "bfloat16") == pytest.approx(2e6, rel=0.03)
    assert needed_bytes(folder, "int8") == pytest.approx(1.5e6, rel=0.03)


def test_only_headers_are_read(tmp_path: Path) -> None:
    """A file of 40 GB that takes no room on the disk: read whole, it would end in an error for memory."""
    header = b'{"w":{"dtype":"BF16","shape":[2000000,10000],"data_offsets":[0,40000000000]}}'
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 40_000_000_000)
    assert list(stored_tensors(tmp_path)) == [("w", (2_000_000, 10_000), "BF16")]


def test_copies_beside_the_weights_are_not_counted(folder: Path) -> None:
    before = needed_bytes(folder, "float32")
    save_file({"layers.0.weight": torch.zeros(1000, 1000)}, folder / "consolidated.safetensors")
    assert needed_bytes(folder, "float32") == before


def test_need_covers_every_weight_of_a_saved_model(tmp_path: Path, tiny_model) -> None:
    tiny_model.model.save_pretrained(tmp_path)
    weights = sum(parameter.numel() for parameter in tiny_model.model.parameters())
    assert 4 * weights <= needed_bytes(tmp_path, "float32") <= 4.2 * weights


@pytest.mark.parametrize("n_bytes", [0, 4, 50, -3])
def test_a_file_cut_short_is_named(folder: Path, n_bytes: int) -> None:
    path = folder / "model-00002-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(TrackerError, match=r"model-00002-of-00002\.safetensors is not a whole safetensors file"):
        needed_bytes(folder, "float32")


def test_what_fits_passes(folder: Path) -> None:
    check_fits("m", folder, "float32", Free(gpu=0, host=10_000_000), eight_bit=False)
    check_fits("m", folder, "float32", Free(gpu=3_000_000, host=2_000_000), eight_bit=False)
    check_fits("m", folder, "float32", Free(gpu=0, host=None), eight_bit=False)


def test_what_does_not_fit_is_refused_with_both_numbers_and_a_way(folder: Path) -> None:
    with pytest.raises(TrackerError) as refused:
        check_fits("a/b", folder, "float32", Free(gpu=0, host=3_000_000), eight_bit=False)
    assert "a/b needs 4.1 MB in float32, 3.0 MB free (memory): use dtype bfloat16 (2.0 MB)" in str(refused.value)
    assert "int8" not in str(refused.value)


def test_eight_bits_are_offered_where_bitsandbytes_is_there_and_they_fit(folder: Path) -> None:
    free = Free(gpu=1_600_000, host=100_000)
    with pytest.raises(TrackerError, match=r"1\.6 MB on the GPU and 0\.1 MB of the host's memory"):
        check_fits("a/b", folder, "bfloat16", free, eight_bit=True)
    with pytest.raises(TrackerError, match=r"use dtype int8 \(1\.5 MB\)"):
        check_fits("a/b", folder, "bfloat16", free, eight_bit=True)
    with pytest.raises(TrackerError, match="install bitsandbytes to offer that"):
        check_fits("a/b", folder, "bfloat16", free, eight_bit=False)


def test_eight_bits_need_the_gpu_alone(folder: Path) -> None:
    with pytest.raises(TrackerError, match="in int8"):
        check_fits("a/b", folder, "int8", Free(gpu=1_000_000, host=10_000_000), eight_bit=True)


def test_free_memory_is_told_on_this_machine() -> None:
    free = free_memory()
    assert free.host is None or free.host > 10_000_000
    assert (free.gpu > 0) == torch.cuda.is_available()
