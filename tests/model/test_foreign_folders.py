"""Model folders as people have them: what can't be read right is refused, by what was found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from feature_tracker.bundles.missing import model_gap, weight_files
from feature_tracker.errors import TrackerError
from feature_tracker.model.hooks import read_residuals
from feature_tracker.model.load import LanguageModel, load_model_folder, model_width
from feature_tracker.model.tokens import tokenize
from tests.support import SENTENCES, write_index


@pytest.fixture
def folder(tmp_path: Path, tiny_model: LanguageModel) -> Path:
    tiny_model.model.save_pretrained(tmp_path)
    tiny_model.tokenizer.save_pretrained(tmp_path)
    return tmp_path


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, r"`quantization_config` \(awq\)"),
        ({"quantization_config": {"quant_method": "gptq"}}, r"\(gptq\)"),
        ({"quantization_config": {"load_in_4bit": True, "quant_method": "bitsandbytes"}}, "bitsandbytes"),
        ({"quantization_config": {"quant_method": "fp8"}}, r"\(fp8\)"),
        ({"quantization": {"group_size": 64, "bits": 4}}, "`quantization`"),
        ({"text_config": {"quantization_config": {"quant_method": "compressed-tensors"}}}, "compressed-tensors"),
    ],
)
def test_a_quantized_model_is_refused_by_its_configuration(
    folder: Path, changes: dict[str, object], found: str
) -> None:
    edit(folder / "config.json", **changes)
    with pytest.raises(TrackerError, match=f"is quantized: its config.json has .*{found}"):
        load_model_folder(folder, "float32")
    with pytest.raises(TrackerError, match="is quantized"):
        model_width(folder, [1])


@pytest.mark.parametrize("name", ["quantize_config.json", "quant_config.json", "hf_quant_config.json"])
def test_a_quantized_model_is_refused_by_the_file_beside_it(folder: Path, name: str) -> None:
    (folder / name).write_text("{}")
    with pytest.raises(TrackerError, match=f"is quantized: its folder holds {name}"):
        load_model_folder(folder, "float32")


@pytest.mark.parametrize(
    ("suffix", "dtype", "stored"),
    [
        ("weight", torch.int8, "I8"),
        ("weight", torch.float8_e4m3fn, "F8_E4M3"),
        ("qweight", torch.int32, "I32"),
        ("weight_packed", torch.uint8, "U8"),
    ],
)
def test_a_quantized_model_is_refused_by_its_tensors(
    folder: Path, suffix: str, dtype: torch.dtype, stored: str
) -> None:
    name = "model.layers.3.mlp.up_proj."
    edit_weights(folder, lambda weights: weights.update({name + suffix: weights.pop(name + "weight").to(dtype)}))
    with pytest.raises(TrackerError, match=rf"is quantized: {name}{suffix} is stored as {stored}"):
        load_model_folder(folder, "float32")


@pytest.mark.parametrize(
    "text", ["null", "[]", "3", '"llama"', "", "{", "{}", "\x00", "[" * 100_000, '{"a":' * 50_000, "1" * 5000]
)
def test_a_configuration_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    for load in (lambda: load_model_folder(folder, "float32"), lambda: model_width(folder, [1])):
        with pytest.raises(TrackerError, match=r"config|configuration"):
            load()


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": None}, {"num_hidden_layers": 0}, {"num_hidden_layers": "6"}, {"hidden_size": None},
        {"hidden_size": -32}, {"hidden_size": 10**12}, {"vocab_size": 10**12}, {"vocab_size": 0}, {"vocab_size": []},
        {"intermediate_size": 10**15}, {"num_hidden_layers": 10**9}, {"num_attention_heads": 0}, {"head_dim": 10**9},
        {"num_key_value_heads": 3}, {"rms_norm_eps": "small"}, {"hidden_act": "evil"}, {"model_type": None},
        {"model_type": "resnet"}, {"model_type": ["llama"]}, {"rope_parameters": {"rope_type": "no such"}},
        {"rope_parameters": 5}, {"dtype": "float3"}, {"tie_word_embeddings": {}},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_an_odd_setting_is_refused_or_read_right(
    folder: Path, changes: dict[str, object], tiny_model: LanguageModel
) -> None:
    edit(folder / "config.json", **changes)
    try:
        loaded = load_model_folder(folder, "float32")
    except TrackerError:
        return
    ids = torch.randint(1, 300, (1, 8))
    with torch.inference_mode():
        assert torch.equal(loaded.model(ids).logits, tiny_model.model(ids).logits)


def test_a_configuration_of_megabytes_is_refused_before_it_is_parsed(folder: Path) -> None:
    edit(folder / "config.json", x="x" * 2_000_000)
    with pytest.raises(TrackerError, match=r"more than 1,000,000 bytes"):
        load_model_folder(folder)


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "experts_implementation"])
def test_a_program_on_the_hub_that_the_configuration_names_is_not_fetched(folder: Path, key: str) -> None:
    edit(folder / "config.json", **{key: "someone/evil-kernel"})
    assert load_model_folder(folder, "float32").model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_beside_whole_weights_is_refused_because_it_would_not_be_applied(folder: Path, name: str) -> None:
    assert model_gap(folder) == ""
    (folder / name).write_text("{}")
    assert f"{name} in it belongs to an adapter, which is not applied. Merge it" in model_gap(folder)


def test_an_adapter_among_the_weights_is_refused(folder: Path) -> None:
    name = "model.layers.2.self_attn.q_proj.lora_A.weight"
    edit_weights(folder, lambda weights: weights.update({name: torch.ones(4, 32)}))
    with pytest.raises(TrackerError, match=rf"doesn't call for, such as {name}"):
        load_model_folder(folder, "float32")


def test_weights_that_the_configuration_leaves_out_are_refused_but_not_tables(folder: Path) -> None:
    table = "model.layers.2.self_attn.rotary_emb.inv_freq"
    edit_weights(folder, lambda weights: weights.update({table: torch.ones(4), "vision.layers.1.w": torch.ones(4)}))
    load_model_folder(folder, "float32")
    bias = "model.layers.2.self_attn.q_proj.bias"
    edit_weights(folder, lambda weights: weights.update({bias: torch.ones(32)}))
    with pytest.raises(TrackerError, match=rf"doesn't call for, such as {bias}"):
        load_model_folder(folder, "float32")


def test_a_copy_in_another_layout_beside_shards_is_not_read(folder: Path, tiny_model: LanguageModel) -> None:
    tiny_model.model.save_pretrained(folder, max_shard_size="40KB")
    (folder / "model.safetensors").unlink()
    (folder / "consolidated.safetensors").write_bytes(b"in Mistral's own layout")
    assert len(weight_files(folder)) > 1
    assert load_model_folder(folder, "float32").n_layers == 6


@pytest.mark.parametrize(
    "name",
    ["pytorch_model.bin", "../outside.safetensors", "/outside.safetensors", "a/b.safetensors", "..\\b.safetensors",
     ".safetensors", "", 3, None, "a.safetensors\n", "x.bin.safetensors.pt"],
)  # fmt: skip
def test_an_index_may_name_safetensors_beside_it_alone(folder: Path, name: object) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder.parent / "outside.safetensors").write_bytes((folder / "model-00001-of-00001.safetensors").read_bytes())
    write_index(folder, evil=name)
    with pytest.raises(TrackerError, match=r"index\.json names .* Only safetensors that lie beside"):
        load_model_folder(folder, "float32")
    assert "Only safetensors" in model_gap(folder)


@pytest.mark.parametrize("text", ["null", "{}", '{"weight_map": []}', '{"weight_map": {}}', "{", "[" * 100_000])
def test_an_index_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(TrackerError, match=r"index\.json"):
        load_model_folder(folder, "float32")


@pytest.fixture
def own_rules(folder: Path) -> Tokenizer:
    """Gives the folder a tokenizer.json that cuts digits apart, cuts texts off, fills them up, and names a class."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Digits(individual_digits=True)
    trainer = trainers.BpeTrainer(vocab_size=350, special_tokens=["<unk>", "<s>", "</s>"])
    tokenizer.train_from_iterator([SENTENCES], trainer)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=64)
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer", "model_max_length": 8}')
    return tokenizer


@pytest.mark.parametrize("text", [" Net sales", "rose 5.4% to $1,234 million " * 4, "  two  spaces"])
def test_the_rules_of_tokenizer_json_hold_whatever_class_is_named(
    folder: Path, own_rules: Tokenizer, text: str
) -> None:
    tokenizer = load_model_folder(folder, "float32").tokenizer
    assert tokenizer.bos_token == "<s>", "the class knows what the file doesn't name"
    tokens = tokenize(text, tokenizer, window=64, max_tokens=1000)
    assert list(tokens.ids) == own_rules.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"version": "1.0"}', "\x00", "[" * 100_000])
def test_a_damaged_tokenizer_is_refused(folder: Path, text: str) -> None:
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(TrackerError, match=r"tokenizer can't be read .*Copy or download tokenizer\.json"):
        load_model_folder(folder)


def test_a_sentencepiece_file_alone_says_what_to_install(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    (folder / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02")
    with pytest.raises(TrackerError, match=r"pip install sentencepiece protobuf"):
        load_model_folder(folder)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused_where_a_text_needs_them(folder: Path) -> None:
    tokenizer = load_model_folder(folder, "float32").tokenizer
    tokenizer.add_tokens(["EBITDA"])
    tokenizer.save_pretrained(folder)
    loaded = load_model_folder(folder, "float32")
    for text, refused in (("Net sales rose.", False), ("EBITDA rose.", True)):
        ids = torch.from_numpy(tokenize(text, loaded.tokenizer, window=64, max_tokens=100).ids)[None]
        if not refused:
            read_residuals(loaded.decoder, ids, [1], lambda *_: None)
            continue
        with pytest.raises(TrackerError, match="tokenizer and model don't belong together"):
            read_residuals(loaded.decoder, ids, [1], lambda *_: None)
