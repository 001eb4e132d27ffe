from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from feature_tracker.bundles.bundle import Bundle, PretrainedModel
from feature_tracker.errors import TrackerError
from feature_tracker.model.load import LanguageModel, load_model, load_model_folder
from feature_tracker.model.memory import Free


@pytest.fixture
def folder(tmp_path: Path, tiny_model: LanguageModel) -> Path:
    folder = tmp_path / "a model with spaces"
    tiny_model.model.save_pretrained(folder)
    tiny_model.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def bundle(folder: Path, tiny_bundle: Bundle) -> Bundle:
    """A bundle whose model is that folder."""
    return replace(tiny_bundle, model=PretrainedModel(folder=folder))


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_folder_loads_with_its_weights(folder: Path, tiny_model: LanguageModel) -> None:
    loaded = load_model_folder(folder, "float32")
    for name, weight in tiny_model.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], weight)
    assert loaded.bos_id == tiny_model.bos_id
    assert load_model_folder(folder, "bfloat16").model.dtype == torch.bfloat16


def test_what_happens_to_the_files_later_does_not_reach_a_loaded_model(folder: Path) -> None:
    model, ids = load_model_folder(folder, "float32").model, torch.randint(1, 300, (1, 8))
    with torch.inference_mode():
        before = model(ids).logits
        weights = folder / "model.safetensors"
        with weights.open("r+b") as file:
            file.seek(10_000)
            file.write(bytes(weights.stat().st_size - 10_000))
        assert torch.equal(model(ids).logits, before)
        os.truncate(weights, 0)
        assert torch.equal(model(ids).logits, before)


def test_pickles_are_refused_and_never_opened(folder: Path, bundle: Bundle) -> None:
    (folder / "model.safetensors").unlink()
    ran = folder.with_name("pickle-ran")
    (folder / "pytorch_model.bin").write_text(f"cos\nsystem\n(S'touch {ran}'\ntR.")
    with pytest.raises(TrackerError, match=r"pytorch_model\.bin and no safetensors.*pickles.*save_pretrained"):
        load_model(bundle)
    with pytest.raises(TrackerError, match=r"neither model\.safetensors nor"):
        load_model_folder(folder)
    assert not ran.exists()


def test_a_model_that_brings_a_program_is_not_run(folder: Path) -> None:
    (folder / "evil.py").write_text("raise SystemExit('ran')\n")
    edit(folder / "config.json", model_type="evil", auto_map={
        "AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"})  # fmt: skip
    with pytest.raises(TrackerError, match="brings a program of its own is not run"):
        load_model_folder(folder)


def test_a_missing_part_and_a_missing_configuration_are_told(folder: Path, bundle: Bundle) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    with pytest.raises(TrackerError, match=r"not a whole model.*found .*model-00001-of-00002"):
        load_model(bundle)
    (folder / "config.json").unlink()
    with pytest.raises(TrackerError, match=r"not a whole model: expected config\.json .*found .*model-00001-of-00002"):
        load_model(bundle)
    with pytest.raises(TrackerError, match="there is no such folder"):
        load_model(replace(bundle, model=PretrainedModel(folder=folder / "nowhere")))


def test_weights_that_are_missing_are_never_made_up(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.3.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TrackerError, match=r"lacks weights .*model\.layers\.3\.mlp\.up_proj\.weight"):
        load_model_folder(folder, "float32")


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    edit(folder / "config.json", intermediate_size=65)
    with pytest.raises(TrackerError, match=r"mlp|can't be loaded"):
        load_model_folder(folder, "float32")


def test_memory_is_checked_before_weights_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feature_tracker.model.load.free_memory", lambda: Free(gpu=0, host=100_000))
    with pytest.raises(TrackerError, match=r"needs 0\.\d MB in float32, 0\.1 MB free"):
        load_model_folder(folder, "float32", name="a/b")


def test_eight_bits_without_a_gpu_say_what_they_need(folder: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    with pytest.raises(TrackerError, match="CUDA GPU and bitsandbytes"):
        load_model_folder(folder, "int8")


def test_a_tokenizer_without_bos_is_refused_until_the_bundle_names_one(folder: Path) -> None:
    edit(folder / "tokenizer_config.json", bos_token=None)
    with pytest.raises(TrackerError, match=r'names no BOS token.*bos = "<\|endoftext\|>"'):
        load_model_folder(folder)
    loaded = load_model_folder(folder, bos="<bos>")
    assert loaded.tokenizer.convert_ids_to_tokens(loaded.bos_id) == "<bos>"
    with pytest.raises(TrackerError, match="no token of its tokenizer"):
        load_model_folder(folder, bos="<|nothing|>")


def test_a_folder_without_tokenizer_names_the_files_to_add(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(TrackerError, match=r"tokenizer\.json"):
        load_model_folder(folder)


def test_a_bundle_that_reads_deeper_than_the_model_is_refused(bundle: Bundle) -> None:
    with pytest.raises(TrackerError, match="layer 28, but its model has layers 0 to 5"):
        load_model(replace(bundle, layers=(1, 28)))
