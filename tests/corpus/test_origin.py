from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from feature_tracker.corpus.origin import Origin, fingerprint
from feature_tracker.sae.topk import Sae
from tests.support import random_sae

ORIGIN = Origin(
    layers=(1, 3), d_model=32, bundle="tiny", model="a model", finance_text=("f.jsonl (9 bytes)",), general_text=(),
    split="train", window=16, seed=0, max_tokens="all",
)  # fmt: skip


def test_a_record_reads_back_what_was_written() -> None:
    assert Origin.from_record(json.loads(json.dumps(asdict(ORIGIN)))) == ORIGIN


@pytest.mark.parametrize(("text", "general"), [(["f"], ()), (["f", "g"], ("g",))])
def test_a_record_of_version_0_1_has_its_text_in_one_list(text: list[str], general: tuple[str, ...]) -> None:
    origin = Origin.from_record({"layers": [1], "d_model": 8, "text": text, "max_tokens": None})
    assert (origin.finance_text, origin.general_text) == (("f",), general)


@pytest.mark.parametrize("record", ["text", [1], {}, {"layers": [1], "d_model": 8, "colour": "red"}])
def test_what_is_no_record_is_refused(record: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        Origin.from_record(record)


def test_differences_are_told_field_by_field_and_the_unknown_differs_from_nothing() -> None:
    assert ORIGIN.differences(ORIGIN) == ""
    assert ORIGIN.differences(Origin(layers=(1, 3), d_model=32)) == ""
    assert Origin(layers=(1, 3), d_model=32).differences(ORIGIN) == ""
    other = replace(ORIGIN, layers=(1,), general_text=("g.jsonl (2 bytes)",), max_tokens=500)
    assert ORIGIN.differences(other) == (
        "expected layers 1, 3, found 1; expected general_text none, found g.jsonl (2 bytes); "
        "expected max_tokens all, found 500"
    )


def test_a_fingerprint_tells_weights_apart_and_nothing_else(tiny_saes: dict[int, Sae]) -> None:
    assert fingerprint(tiny_saes) == fingerprint(dict(reversed(tiny_saes.items())))
    changed = (
        {layer: sae for layer, sae in tiny_saes.items() if layer != 4},
        tiny_saes | {3: random_sae(32, seed=9)},
        tiny_saes | {3: replace(tiny_saes[3], k=5)},
        tiny_saes | {3: replace(tiny_saes[3], b_dec=tiny_saes[3].b_dec + 1e-6)},
    )
    assert len({fingerprint(saes) for saes in (tiny_saes, *changed)}) == 5
