"""Everything that says which layer, model or source an SAE belongs to is looked at, and must agree."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from feature_tracker.bundles.bundle import Bundle, PretrainedModel
from feature_tracker.bundles.model_names import is_named
from feature_tracker.errors import TrackerError
from feature_tracker.sae.load import check_writable, load_bundle_saes, load_saes, starts_with_bos
from tests.sae.foreign import write_saelens, write_sparsify


@pytest.mark.parametrize(
    "name",
    ["layers.3", "h.3", "model.layers.3", "language_model.layers.3", "transformer.h.3", "layers.3/seed0", "layer_3",
     "layers_3", "blocks.3.hook_resid_post", "blocks.4.hook_resid_pre", "blocks.3.hook_out", "resid_post_layer_3",
     "runs/a/layers.3/seed0"],
)  # fmt: skip
@pytest.mark.parametrize("write", [write_sparsify, write_saelens])
def test_a_folder_names_its_layer_in_any_of_the_spellings(tmp_path: Path, name: str, write: Any) -> None:
    options = {"hook": None} if write is write_saelens else {}
    write(tmp_path / name, **options)
    assert load_saes(tmp_path, [3])
    with pytest.raises(TrackerError, match="No SAE for layer 4"):
        load_saes(tmp_path, [4])


def test_several_seeds_are_asked_about_and_one_of_them_can_be_named(tmp_path: Path) -> None:
    for layer in (3, 4):
        for seed in (0, 1):
            write_sparsify(tmp_path / f"layers.{layer}" / f"seed{seed}", k=5 + seed)
    with pytest.raises(TrackerError, match=r"layers.3/seed0.*and layers.3/seed1.*both read layer 3.*sae_variant"):
        load_saes(tmp_path, [3, 4])
    assert [sae.k for sae in load_saes(tmp_path, [3, 4], variant="seed1").values()] == [6, 6]
    with pytest.raises(TrackerError, match="no SAE of layer 3 lies in a folder 'seed2'"):
        load_saes(tmp_path, [3], variant="seed2")


@pytest.mark.parametrize(
    ("settings", "metadata", "named"),
    [
        ({"hook_name": "blocks.3.hook_resid_pre"}, {}, r"hook_name = .*_pre' and metadata\.hook_name = .*_post'"),
        ({"hook_name": "blocks.3.hook_resid_pre"}, {"hook_name": None}, "layers.3.*resid_pre.*contradict"),
        ({"hook_point": "blocks.3.hook_mlp_out"}, {"hook_name": None}, "reads blocks.3.hook_mlp_out"),
        ({"hook_layer": 4}, {}, "hook_layer = 4 and .*contradict"),
        ({"hook_point_layer": 2}, {"hook_name": None}, "layers.3.* and hook_point_layer = 2"),
        ({}, {"hook_layer": "3"}, "metadata.hook_layer = '3'"),
        ({}, {"hook_layer": 3.5}, "metadata.hook_layer = 3.5"),
        ({}, {"hook_name": 3}, "hook_name = 3"),
        ({}, {"hf_hook_name": "model.layers.4"}, r"layers\.3.* and hf_hook_name.*contradict"),
        ({}, {"neuronpedia_id": "gpt2-small/3-res-jb"}, r"layers\.3.* and .*neuronpedia_id = 'gpt2-small/3"),
        ({}, {"neuronpedia_id": "gpt2-small/3-mlp-sm"}, "not a source of the residual stream"),
        ({}, {"neuronpedia_id": "gpt2-small/3-res_mid_32k-oai"}, "not a source of the residual stream"),
        ({}, {"neuronpedia_id": "gpt2-small/3"}, "not a source of the residual stream"),  # neurons
        ({}, {"neuronpedia_id": "pythia-70m-deduped/e-res-sm"}, "not a source of the residual stream"),
        ({}, {"neuronpedia_id": "gpt2-small/4-unheard-of"}, "4-unheard-of', whose block = 4 and .*contradict"),
        ({}, {"neuronpedia_id": "gpt2-medium"}, "neuronpedia_id"),
        ({"model_name": "gpt2-medium"}, {"model_name": "gpt2-small"}, "gpt2-medium"),
    ],
)  # fmt: skip
def test_places_that_contradict_each_other_are_both_named(
    tmp_path: Path, settings: dict[str, Any], metadata: dict[str, Any], named: str
) -> None:
    write_saelens(tmp_path / "layers.3", metadata=metadata, **settings)
    with pytest.raises(TrackerError, match=named):
        load_saes(tmp_path, [3], models=["gpt2"])


def test_places_that_agree_are_all_believed(tmp_path: Path) -> None:
    write_saelens(
        tmp_path / "layers.3", hook="blocks.4.hook_resid_pre", hook_layer=4, hook_name="blocks.4.hook_resid_pre",
        metadata={"neuronpedia_id": "gpt2-small/4-res-jb", "hook_layer": 4.0, "hf_hook_name": "transformer.h.3",
                  "model_name": "gpt2-small"},
    )  # fmt: skip
    (sae,) = load_saes(tmp_path, [3], models=["gpt2"]).values()
    assert sae.notes == ("blocks.4.hook_resid_pre is the residual stream after layer 3",)


def test_a_neuronpedia_id_alone_tells_the_layer(tmp_path: Path) -> None:
    write_saelens(tmp_path / "a", hook=None, metadata={"neuronpedia_id": "gpt2-small/8-res-jb"})
    assert load_saes(tmp_path, [7])


def test_a_folder_of_another_stream_is_left_alone_and_named_where_it_is_all_there_is(tmp_path: Path) -> None:
    write_sparsify(tmp_path / "layers.3.mlp")
    with pytest.raises(TrackerError, match=r"layers\.3\.mlp' says that it reads no residual stream"):
        load_saes(tmp_path, [3])
    write_sparsify(tmp_path / "layers.3")
    assert load_saes(tmp_path, [3])


@pytest.mark.parametrize("name", ["blocks.4.hook_resid_pre_768", "blocks.3.hook_resid_post.v2", "v2"])
def test_a_folder_may_say_more_than_the_hook(tmp_path: Path, name: str) -> None:
    write_saelens(tmp_path / name, hook="blocks.4.hook_resid_pre")
    assert load_saes(tmp_path, [3])


@pytest.mark.parametrize("name", ["blocks.8.hook_resid_pre_768", "blocks.0.hook_resid_pre"])
def test_a_folder_that_says_another_hook_is_refused(tmp_path: Path, name: str) -> None:
    write_saelens(tmp_path / name, hook="blocks.4.hook_resid_pre")
    with pytest.raises(TrackerError, match=name):
        load_saes(tmp_path, [3])


def test_a_layer_that_nobody_asked_for_may_be_damaged(tmp_path: Path) -> None:
    write_sparsify(tmp_path / "layers.3")
    write_sparsify(tmp_path / "layers.4", signed=True)
    (tmp_path / "layers.4" / "cfg.json").write_text("{")
    assert load_saes(tmp_path, [3])
    with pytest.raises(TrackerError, match=r"layers\.4/cfg\.json is no JSON"):
        load_saes(tmp_path, [3, 4])


def test_both_formats_in_one_folder_are_asked_about(tmp_path: Path) -> None:
    write_sparsify(tmp_path / "layers.3")
    write_saelens(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "sae_weights.safetensors", tmp_path / "layers.3")
    shutil.rmtree(tmp_path / "other")
    with pytest.raises(TrackerError, match=r"sae\.safetensors and layers\.3/sae_weights\.safetensors both read"):
        load_saes(tmp_path, [3])


@pytest.mark.parametrize("name", ["h.3", "layers.3/seed0"])
def test_saes_are_not_written_beside_those_of_the_same_layer(tmp_path: Path, name: str) -> None:
    write_sparsify(tmp_path / name)
    with pytest.raises(TrackerError, match="holds layer 3's SAE"):
        check_writable(tmp_path, [3])
    check_writable(tmp_path, [4])


@pytest.mark.parametrize(
    ("name", "model", "is_it"),
    [
        ("gpt2-small", "openai-community/gpt2", True),
        ("gpt2-small", "gpt2-medium", False),
        ("qwen2.5-7b-it", "Qwen/Qwen2.5-7B-Instruct", True),
        ("llama3.1-8b-it", "meta-llama/Llama-3.1-8B", False),
        ("mistral-7b", "mistralai/Mistral-7B-v0.1", True),
        ("mistral-7b", "mistralai/Mistral-7B-v0.3", False),
        ("...", "---", False),
        ("meta-llama/Llama-3.1-8B", "meta-llama/Meta-Llama-3.1-8B", True),
        ("Llama-2-7b", "meta-llama/Llama-2-7b-hf", True),
        ("llama3.1-8b", "meta-llama/Llama-3.1-8B", True),
        ("llama3.1-8b", "meta-llama/Llama-3.1-8B-Instruct", False),
        ("gemma-3-1b", "google/gemma-3-1b-pt", True),
        ("gemma-v3-1b-pt", "google/gemma-3-1b-pt", True),
        ("gemma-3-1b-it", "google/gemma-3-1b-pt", False),
        ("pythia-70m-deduped", "EleutherAI/pythia-70m-deduped", True),
        ("pythia-70m-deduped", "EleutherAI/pythia-70m", False),
        ("/home/x/models/Llama2-7b-Finance", "cxllin/Llama2-7b-Finance", True),
    ],
)
def test_a_model_goes_by_several_names(name: str, model: str, is_it: bool) -> None:
    assert is_named(name, [model]) is is_it


@pytest.fixture
def bundle(tiny_bundle: Bundle, tmp_path: Path) -> Bundle:
    return replace(tiny_bundle, layers=(3,), sae_folder=tmp_path, model=PretrainedModel(id="openai-community/gpt2"))


@pytest.mark.parametrize("where", ["model_name", "neuronpedia_id", "config.json"])
def test_saes_of_another_model_are_refused_unless_its_name_is_accepted(bundle: Bundle, where: str) -> None:
    folder = bundle.sae_folder
    if where == "config.json":
        write_sparsify(folder / "layers.3" / "seed0")
        (folder / "config.json").write_text(json.dumps({"sae": {}, "model": "openai-community/gpt2-large"}))
    else:
        said = "gpt2-large" if where == "model_name" else "gpt2-large/3-res-x"
        write_saelens(folder / "layers.3", metadata={where: said})
    with pytest.raises(TrackerError, match=r"trained on '.*gpt2-large', but the bundle's model is .*sae_models"):
        load_bundle_saes(bundle)
    with pytest.raises(TrackerError, match="gpt2-large"):
        load_bundle_saes(replace(bundle, sae_models=("gpt2-xl",)))
    assert load_bundle_saes(replace(bundle, sae_models=("gpt2-xl", "gpt2-large")))


def test_transcoders_of_a_run_that_alone_says_so_are_refused(tmp_path: Path) -> None:
    run = {"sae": {"k": 7}, "model": "gpt2", "transcode": True, "hookpoints": ["layers.3"]}
    write_sparsify(tmp_path / "run" / "layers.3")  # versions before February 2025 say nothing in cfg.json
    (tmp_path / "run" / "config.json").write_text(json.dumps(run))
    with pytest.raises(TrackerError, match=r"run/config\.json: transcode = True is not supported"):
        load_saes(tmp_path, [3])


def test_a_model_folders_own_configuration_is_no_claim(bundle: Bundle) -> None:
    write_sparsify(bundle.sae_folder / "layers.3")
    (bundle.sae_folder / "config.json").write_text(
        json.dumps({"model": "llama", "architectures": ["LlamaForCausalLM"]})
    )
    assert load_bundle_saes(bundle)


@pytest.mark.parametrize(("in_file", "in_bundle", "expected"), [
    (None, None, True), (True, None, True), (False, None, False), (None, False, False), (False, False, False),
    (True, True, True), (True, False, None), (False, True, None),
])  # fmt: skip
def test_files_and_bundle_agree_on_whether_windows_start_with_bos(
    bundle: Bundle, in_file: bool | None, in_bundle: bool | None, expected: bool | None
) -> None:
    write_saelens(bundle.sae_folder / "layers.3", metadata={"prepend_bos": in_file})
    bundle = replace(bundle, prepend_bos=in_bundle)
    if expected is None:
        with pytest.raises(TrackerError, match="prepend_bos of bundle tiny"):
            load_bundle_saes(bundle)
    else:
        assert starts_with_bos(bundle, load_bundle_saes(bundle)) is expected


def test_layers_that_disagree_on_bos_are_refused(bundle: Bundle) -> None:
    write_saelens(bundle.sae_folder / "a", hook="blocks.3.hook_resid_post", metadata={"prepend_bos": False})
    write_saelens(bundle.sae_folder / "b", hook="blocks.4.hook_resid_post")
    with pytest.raises(TrackerError, match="layer 4 says that windows start with BOS, and the SAE of layer 3"):
        load_bundle_saes(replace(bundle, layers=(3, 4)))
