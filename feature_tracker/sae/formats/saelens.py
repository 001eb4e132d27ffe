"""SAELens's format, `cfg.json` and `sae_weights.safetensors`: its standard, TopK, BatchTopK, JumpReLU and gated SAEs.

SAELens stores W_enc as (d_model, n_latents) and has options of its own. Those that can be folded into the weights are,
so that an `Sae` has one formula; the others are refused by name. Source: sae-lens 6.54, `sae_lens/saes/*.py` and
`loading/pretrained_sae_loaders.py` (defaults of files older than 6.0), and the fields of all configuration classes of
its versions since 0.1.
"""

from __future__ import annotations

from pathlib import Path

from feature_tracker.bundles.sae_folders import FoundSae
from feature_tracker.errors import TrackerError
from feature_tracker.sae.formats.claims import Claims
from feature_tracker.sae.formats.files import D_MODEL, N_LATENTS, read_tensors
from feature_tracker.sae.formats.settings import Settings
from feature_tracker.sae.formats.weights import Weights
from feature_tracker.sae.topk import Activation, Normalization, Sae

_BATCH_TOPK = ("batchtopk", "matryoshka_batchtopk")
_KINDS = ("standard", "topk", *_BATCH_TOPK, "jumprelu", "gated")
_SHAPES = {
    "W_enc": (D_MODEL, N_LATENTS),
    "b_enc": (N_LATENTS,),
    "W_dec": (N_LATENTS, D_MODEL),
    "b_dec": (D_MODEL,),
}
_GATES = {"r_mag": (N_LATENTS,), "b_mag": (N_LATENTS,), "b_gate": (N_LATENTS,)}
# BatchTopK SAEs are saved for use as JumpReLU ones; a training checkpoint holds its one threshold by this name.
_THRESHOLDS = {"jumprelu": {"threshold": (N_LATENTS,)}} | {kind: {"topk_threshold": ()} for kind in _BATCH_TOPK}
_NORMALIZATIONS: dict[str, Normalization] = {"layer_norm": "layer_norm", "constant_norm_rescale": "unit_norm"}
_AVERAGE_NORM = "expected_average_only_in"
# Of HookedTransformer.from_pretrained: none of these changes the residual stream after a block.
_HARMLESS_FOR_MODEL = {
    "fold_ln", "center_unembed", "fold_value_biases", "refactor_factored_attn_matrices", "dtype", "torch_dtype",
    "device", "device_map", "n_devices", "trust_remote_code", "default_padding_side", "cache_dir", "local_files_only",
    "token", "low_cpu_mem_usage", "attn_implementation",
}  # fmt: skip
# How the SAE was trained and on what text: nothing here changes what it computes.
_HARMLESS = {
    "act_store_device", "adam_beta1", "adam_beta2", "autocast", "autocast_lm", "aux_loss_coefficient",
    "b_dec_init_method", "begin_batch_token", "begin_sequence_token", "buffer_size_gb", "cached_activations_path",
    "checkpoint_path", "column_name", "compile_llm", "compile_sae", "context_size", "data_dir", "data_files",
    "dataset_name", "dataset_path", "dataset_trust_remote_code", "dead_feature_estimation_method",
    "dead_feature_threshold", "dead_feature_window", "decoder_heuristic_init", "decoder_heuristic_init_norm",
    "decoder_init_norm", "decoder_orthogonal_init", "device", "disable_concat_sequences", "dtype",
    "eval_batch_size_prompts", "eval_every_n_wandb_logs", "exclude_special_tokens", "expansion_factor",
    "feature_sampling_method", "feature_sampling_window", "feature_reinit_scale", "finetuning_method",
    "finetuning_tokens", "from_pretrained_path", "hf_is_private_repo", "hf_num_shards", "hf_repo_id", "hf_revision",
    "hook_eval", "hook_point_eval", "init_encoder_as_decoder_transpose", "is_dataset_tokenized", "jumprelu_bandwidth",
    "jumprelu_init_threshold", "jumprelu_sparsity_loss_mode", "jumprelu_ste_to_input", "jumprelu_tanh_scale",
    "l0_coefficient", "l0_warm_up_steps", "l1_coefficient", "l1_warm_up_steps", "llm_compilation_mode",
    "log_activations_store_to_wandb", "log_optimizer_state_to_wandb", "log_to_wandb", "log_weights_to_wandb", "logger",
    "lp_norm", "lr", "lr_decay_steps", "lr_end", "lr_scheduler_name", "lr_warm_up_steps", "matryoshka_widths",
    "model_batch_size", "model_class_name", "mse_loss_normalization", "n_batches_for_norm_estimate",
    "n_batches_in_buffer", "n_checkpoints", "n_eval_batches", "n_eval_seqs", "n_restart_cycles", "n_shuffles_final",
    "n_shuffles_in_entire_dir", "n_shuffles_with_last_section", "new_cached_activations_path", "noise_scale",
    "normalize_sae_decoder", "num_proc", "output_path", "pre_act_loss_coefficient", "pretokenize_batch_size",
    "resume", "resume_from_checkpoint", "run_name", "sae_compilation_mode", "sae_lens_training_version",
    "sae_lens_version", "save_final_checkpoint", "save_path", "scale_sparsity_penalty_by_decoder_norm", "seed",
    "seqpos_slice", "sequence_separator_token", "shuffle", "shuffle_every_n_buffers", "split", "store_batch_size",
    "store_batch_size_prompts", "streaming", "tokenizer_name", "tokens_per_buffer", "topk_threshold_lr",
    "total_training_samples", "total_training_steps", "total_training_tokens", "train_batch_size",
    "train_batch_size_samples", "train_batch_size_tokens", "training_architecture", "training_architecture_details",
    "training_tokens", "use_cached_activations", "use_chat_formatting", "use_ghost_grads", "use_matryoshka_aux_loss",
    "use_sparse_activations", "verbose", "wandb_entity", "wandb_id", "wandb_log_frequency", "wandb_project",
}  # fmt: skip


def settings_of(found: FoundSae) -> Settings:
    """What `cfg.json` states, in the file itself or in its `metadata`."""
    return Settings.read(found.folder / "cfg.json", nested="metadata")


def claim(settings: Settings, _found: FoundSae, _sae_folder: Path, claims: Claims) -> None:
    """Add the layer and model that the configuration states."""
    hook = None
    settings.text("hook_name", "hook_point")  # all places must agree
    for where, name in settings.stated("hook_name", "hook_point").items():
        hook = claims.add_hook(where, name)
    for where, block in settings.blocks("hook_layer", "hook_point_layer").items():
        claims.add_block(where, block, hook)
    if name := settings.text("hf_hook_name"):
        claims.add_hook("hf_hook_name", name)
    for where, model in settings.stated("model_name").items():
        claims.models[where] = str(model)
    for where, source in settings.stated("neuronpedia_id").items():
        claims.add_neuronpedia(where, str(source), hook)


def load(settings: Settings, found: FoundSae, claims: Claims, d_model: int | None, *, layer_norm: bool | None) -> Sae:
    """The SAE of these files.

    Args:
        layer_norm: whether the model's blocks have LayerNorm, `None` where it is unknown; TransformerLens centres the
            stream of no others.

    Raises:
        TrackerError: a kind or setting isn't supported, or the tensors don't fit each other or the model.
    """
    kind = _kind(settings)
    notes = list(claims.notes)
    shapes = {name: shape for name, shape in _SHAPES.items() if name != "b_enc" or kind != "gated"}
    shapes |= _GATES if kind == "gated" else _THRESHOLDS.get(kind, {})
    is_rescaled = settings.flag("rescale_acts_by_decoder_norm", default=False)
    if is_rescaled and kind not in ("topk", *_BATCH_TOPK):
        raise settings.refused("rescale_acts_by_decoder_norm", True, f"false for a {kind} SAE")
    is_centred = settings.flag("apply_b_dec_to_input", default=True)
    stated, factor = _normalization(settings, found)
    is_mean_free = _is_mean_free(settings, layer_norm, stated)
    bos = None if settings.get("prepend_bos") is None else settings.flag("prepend_bos", default=True)
    tensors = read_tensors(found.weights).checked(shapes, d_model, ones=("scaling_factor",))
    n_latents, width = tensors["W_dec"].shape
    settings.require("d_in", width)
    settings.require("d_sae", n_latents)
    k = _k(settings, kind, n_latents)
    settings.finish(_HARMLESS)
    weights = Weights.from_tensors(tensors, "topk_threshold" if kind in _BATCH_TOPK else "threshold")
    if kind == "gated":
        weights = weights.gated(tensors["r_mag"], tensors["b_mag"], tensors["b_gate"])
    weights = weights.rescaled() if is_rescaled else weights
    weights = weights if is_centred else weights.without_centre()
    if factor is not None:
        weights = weights.scaled(factor)
        notes.append(f"the stream's average norm, by which it is divided, is folded into {found.weights.name}")
    if is_mean_free:
        weights = weights.mean_free()
        notes.append(f"the stream's mean over its dimensions is taken off; that is folded into {found.weights.name}")
    if stated != "none":
        notes.append(f"each token's stream is normalized before it is encoded ({stated})")
    activation: Activation = "topk" if kind == "topk" else "relu" if kind == "standard" else "jumprelu"
    return weights.sae(found.weights, k=k, activation=activation, normalization=stated, bos=bos, notes=tuple(notes))


def _kind(settings: Settings) -> str:
    """The SAE's architecture, after its settings were found to be supported."""
    kind = settings.get("architecture", default="standard")
    function = settings.require("activation_fn", "relu", "topk") if settings.stated("activation_fn") else None
    function = function or settings.require("activation_fn_str", "relu", "topk")
    if kind not in _KINDS:
        raise settings.refused("architecture", kind, ", ".join(_KINDS))
    if function == "topk":  # how SAELens before 6.0 stated it
        if kind not in ("standard", "topk"):
            raise settings.refused("activation_fn", "topk", f"'relu' for architecture = {kind!r}")
        kind = "topk"
    settings.require("reshape_activations", "none")
    for name in ("finetuning_scaling_factor", "hook_head_index", "hook_point_head_index", "model_kwargs"):
        settings.require(name, False, {})
    for name in ("d_out", "hook_name_out", "hook_head_index_out", "hf_hook_name_out"):  # of transcoders
        settings.require(name, False)
    return kind


def _k(settings: Settings, kind: str, n_latents: int) -> int | None:
    """The number of activations that a TopK SAE keeps."""
    arguments = settings.get("activation_fn_kwargs", default={})
    if not isinstance(arguments, dict):
        raise settings.refused("activation_fn_kwargs", arguments, "a JSON object")
    nested = Settings(settings.path, {"activation_fn_kwargs.": arguments})
    if kind in _BATCH_TOPK:
        settings.get("k")  # an average over a batch of training
    elif kind == "topk":
        stated = nested.whole_number("k", at_most=n_latents)
        k = settings.whole_number("k", at_most=n_latents)
        nested.finish(("use_sparse_activations",))
        if stated is not None and k is not None and stated != k:
            raise TrackerError(f"{settings.path} contradicts itself: activation_fn_kwargs.k = {stated} and k = {k}.")
        if stated is None and k is None:
            raise TrackerError(
                f"{settings.path}: k must be a whole number between 1 and {n_latents} latents; it lacks."
            )
        return stated or k
    nested.finish(())
    return None


def _is_mean_free(settings: Settings, layer_norm: bool | None, normalization: Normalization) -> bool:
    """Whether the SAE was trained on a stream that TransformerLens had centred, by `center_writing_weights`.

    SAELens states that since September 2024, and centred all streams before (but in `pretrained_saes.yaml` it says so
    of its own SAEs of GPT-2 alone). Files of other tools that have its names say nothing either.

    Raises:
        TrackerError: nothing tells, and it matters.
    """
    arguments = settings.get("model_from_pretrained_kwargs", default={})
    if not isinstance(arguments, dict):
        raise settings.refused("model_from_pretrained_kwargs", arguments, "a JSON object")
    nested = Settings(settings.path, {"model_from_pretrained_kwargs.": arguments})
    centred = nested.flag("center_writing_weights", default=False)
    nested.require("revision", "main")
    nested.finish(_HARMLESS_FOR_MODEL)
    centred = settings.flag("center_writing_weights", default=False) or centred
    is_stated = settings.stated("center_writing_weights", "model_from_pretrained_kwargs", "sae_lens_version")
    if is_stated or not layer_norm or normalization == "layer_norm":  # the last takes the mean off anyway
        return centred and layer_norm is not False
    if settings.stated("hook_point"):  # its name until May 2024, when SAELens knew no stream that isn't centred
        return True
    raise TrackerError(
        f"{settings.path} doesn't say whether this SAE was trained on a stream that TransformerLens had centred, as "
        "SAELens did until September 2024. This model has LayerNorm, so that changes what fires. Add "
        '"center_writing_weights": true (SAELens before that month) or false to the file.'
    )


def _normalization(settings: Settings, found: FoundSae) -> tuple[Normalization, float | None]:
    """What is done to each row before it is encoded, and the constant that all are multiplied by."""
    stated = settings.get("normalize_activations", default="none")
    stated = {False: "none", True: _AVERAGE_NORM}[stated] if isinstance(stated, bool) else stated  # before version 3
    factor = _scaling_factor(found.folder / "activation_scaler.json")
    if settings.stated("norm_scaling_factor"):
        factor = settings.number("norm_scaling_factor")
    if stated == _AVERAGE_NORM:
        if factor is None:
            raise TrackerError(
                f"{settings.path}: normalize_activations = {stated!r} multiplies the stream by a constant that this "
                'folder doesn\'t state. Add activation_scaler.json with {"scaling_factor": sqrt(d_in) / average norm}, '
                "as SAELens's checkpoints have it; or fold it in with sae.fold_activation_norm_scaling_factor(factor) "
                "and save again."
            )
        return "none", factor
    if factor is not None:
        raise TrackerError(
            f"{settings.path}: normalize_activations = {stated!r} and a scaling factor of {factor} beside it "
            f"(activation_scaler.json) contradict each other. State {_AVERAGE_NORM!r}, or take the factor away."
        )
    if stated == "none":
        return "none", None
    if not isinstance(stated, str) or stated not in _NORMALIZATIONS:
        raise settings.refused(
            "normalize_activations", stated, f"'none', {_AVERAGE_NORM!r}, {', '.join(_NORMALIZATIONS)}"
        )
    return _NORMALIZATIONS[stated], None


def _scaling_factor(path: Path) -> float | None:
    if not path.is_file():
        return None
    settings = Settings.read(path)
    settings.require("has_whitening", False)
    return settings.number("scaling_factor") if settings.stated("scaling_factor") else None
