"""A name of a hook, a folder or a source means one stream, or none."""

from __future__ import annotations

import pytest

from feature_tracker.bundles.hook_names import (
    Stream,
    is_other_stream,
    stream_of_folder,
    stream_of_hook,
    stream_of_source,
)


# As `pretrained_saes.yaml` of SAELens 6.54 has them.
@pytest.mark.parametrize(
    ("model", "source", "layer"),
    [
        ("gpt2-small", "8-res-jb", 7),
        ("gpt2-small", "12-res-jb", 11),
        ("gpt2-small", "0-res-jb", None),  # the embeddings
        ("gpt2-small", "8-res_fs768-jb", 7),
        ("gpt2-small", "6-res_slefr-ajt", 5),
        ("gpt2-small", "2-res_scefr-ajt", 1),
        ("gpt2-small", "6-res_post_32k-oai", 6),
        ("gpt2-small", "6-res_mid_32k-oai", None),
        ("gpt2-small", "6-att-kk", None),
        ("gpt2-small", "6-mlp_32k-oai", None),
        ("gpt2-small", "6", None),  # neurons
        ("gemma-2b", "6-res-jb", 6),
        ("gemma-2b-it", "12-res-jb", 12),
        ("gemma-2-2b", "20-gemmascope-res-16k", 20),
        ("gemma-2-2b", "12-gemmascope-res-16k__l0-22", 12),
        ("gemma-2-2b", "20-gemmascope-transcoder-16k", None),
        ("gemma-2-2b", "20-gemmascope-mlp-16k", None),
        ("gemma-2-2b", "20-gemmascope-att-16k", None),
        ("gemma-2-2b", "20-gemmascope-2-crosscoder-res-65k", None),
        ("gemma-2-2b", "20-clt-hp", None),
        ("llama3.1-8b-it", "19-resid-post-aa", 19),
        ("llama3.1-8b", "15-llamascope-slimpj-openr1-res-32k", 15),
        ("pythia-70m-deduped", "e-res-sm", None),
        ("gpt2-small", "8-neuronpedia-resid-post", None),  # a user's steering vector
        ("gpt2-small", "8-unheard-of", None),
    ],
)
def test_a_source_belongs_to_the_layer_after_which_its_stream_is(model: str, source: str, layer: int | None) -> None:
    stream = stream_of_source(source, model)
    assert stream is not None
    assert stream.layer == layer


@pytest.mark.parametrize(
    ("hook", "stream"),
    [
        ("layers.3", Stream(3, "after")),
        ("h.3", Stream(3, "after")),
        ("model.layers.12.output", Stream(12, "after")),
        ("gpt_neox.layers.3", Stream(3, "after")),
        ("blocks.3.hook_out", Stream(3, "after")),  # of TransformerLens's bridge
        ("blocks.3.hook_in", Stream(3, "before")),
        ("blocks.0.hook_resid_pre", Stream(0, "before")),
        ("blocks.3.hook_mlp_out", Stream(3, "elsewhere")),
        ("blocks.3.attn.hook_z", Stream(3, "elsewhere")),
        ("blocks.3.ln2.hook_normalized", Stream(3, "elsewhere")),
        ("blocks.99999.hook_resid_post", None),
        ("blocks.³.hook_resid_post", None),
        ("blocks.٣.hook_resid_post", None),
        ("hook_embed", None),
        (".model.layers.3", Stream(3, "after")),
        ("model.language_model.layers.3", Stream(3, "after")),
        ("transformer.h.3", Stream(3, "after")),
        ("blocks.8.hook_resid_post", Stream(8, "after")),
        ("blocks.8.hook_resid_pre", Stream(8, "before")),
        ("blocks.8.hook_resid_mid", Stream(8, "elsewhere")),
        ("layers.3.mlp", Stream(3, "elsewhere")),
        ("vision_tower.encoder.layers.3", Stream(3, "elsewhere")),
        ("embed_tokens", None),
    ],
)
def test_a_hook_names_its_stream(hook: str, stream: Stream | None) -> None:
    assert stream_of_hook(hook) == stream


def test_folders_have_names_of_their_own() -> None:
    assert stream_of_folder("layer_12_width_16k_l0_small") == Stream(12, "after")
    assert stream_of_folder("Llama3_1-8B-Base-L15R-32x") == Stream(15, "after")
    assert stream_of_folder("resid_post_layer_3") == stream_of_folder("layers.3") == Stream(3, "after")
    assert stream_of_folder("blocks.8.hook_resid_pre_768") == Stream(8, "before")  # GPT-2's feature splitting
    assert stream_of_folder("blocks.8.hook_resid_mid_768") == Stream(8, "elsewhere")
    assert stream_of_folder("Llama3_1-8B-Base-L15M-32x") is None
    assert stream_of_folder("llama2_7b_finance_layers4 10 16 22 28_k32") is None


@pytest.mark.parametrize(
    ("name", "is_other"),
    [
        ("layers.3.mlp", True), ("attn_out", True), ("gemma-scope-2b-pt-MLP", True), ("crosscoder", True),
        ("res_mid_32k", True), ("hook_z", True), ("Llama3_1-8B-Base-L15M-32x", True), ("embedding", True),
        ("resid_post", False), ("layers.3", False), ("midterm", False), ("mid", False), ("", False),
    ],
)  # fmt: skip
def test_a_folders_words_tell_of_other_streams(name: str, is_other: bool) -> None:
    assert is_other_stream(name) == is_other
