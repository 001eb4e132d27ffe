"""Where stored results come from: they are never taken for another bundle's, another text's or other options'."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from feature_tracker.bundles.bundle import Bundle, WheelSource
from feature_tracker.sae.topk import Sae


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a harvest or a measurement was computed from. `None` means unknown, or irrelevant to the result.

    Attributes:
        layers: 0-based, ascending.
        d_model: width of the residual stream.
        bundle: its name.
        model: the model's name at its source.
        dtype: of the model's arithmetic.
        saes: fingerprint of the weights, see `fingerprint`.
        finance_text: each file or folder with its size.
        general_text: likewise; empty where there is none.
        split: the documents that were read, `train`, `validation` or `all`.
        window: tokens, BOS included.
        seed: of the order of the windows.
        max_tokens: where the text was cut off.
    """

    layers: tuple[int, ...]
    d_model: int
    bundle: str | None = None
    model: str | None = None
    dtype: str | None = None
    saes: str | None = None
    finance_text: tuple[str, ...] | None = None
    general_text: tuple[str, ...] | None = None
    split: str | None = None
    window: int | None = None
    seed: int | None = None
    max_tokens: int | Literal["all"] | None = None

    @classmethod
    def from_bundle(cls, bundle: Bundle, d_model: int) -> Origin:
        """The origin of anything computed with a bundle's model, whose residual stream is `d_model` wide."""
        source = bundle.model
        if isinstance(source, WheelSource):
            model = source.requirement
        else:
            model = f"{source.id}, revision {source.revision}" if source.id else source.name
        model += ", windows without BOS" if bundle.prepend_bos is False else ""
        return cls(layers=bundle.layers, d_model=d_model, bundle=bundle.name, model=model)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Origin:
        """The inverse of `dataclasses.asdict`, after a round trip through JSON.

        Raises:
            TypeError, ValueError: not such a record.
        """
        values: dict[str, Any] = dict(record)
        values |= {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        texts = values.pop("text", None)
        if texts is not None:  # version 0.1 kept finance and general text in one list
            values["finance_text"], values["general_text"] = texts[:1], texts[1:]
        return cls(**values)

    def differences(self, recorded: Origin) -> str:
        """What differs in `recorded`, as "expected …, found …; expected …"; empty where nothing does.

        Only fields that both know are compared.
        """
        other = asdict(recorded)
        return "; ".join(
            f"expected {name} {_in_words(value)}, found {_in_words(other[name])}"
            for name, value in asdict(self).items()
            if value is not None and other[name] is not None and value != other[name]
        )


def fingerprint(saes: Mapping[int, Sae]) -> str:
    """A short digest of SAE weights, which changes when an SAE is trained anew."""
    digest = hashlib.sha256()
    for layer, sae in sorted(saes.items()):
        kind = sae.activation if sae.normalization == "none" else f"{sae.activation} {sae.normalization}"
        digest.update(f"{layer} {kind} {sae.k}".encode())
        for weights in (sae.encoder_weight, sae.encoder_bias, sae.decoder, sae.b_dec, sae.threshold, sae.selection):
            if weights is not None:
                digest.update(weights.contiguous().cpu().numpy().data)
    return digest.hexdigest()[:12]


def _in_words(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)
