from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.table import LabelTable
from feature_tracker.steering.recipe import LARGEST_FILE, Recipe, parse_feature
from feature_tracker.tracker import Tracker
from tests.support import random_sae


@pytest.fixture
def recipe(tracker: Tracker) -> Recipe:
    features = [(Feature(3, 7), 0.5), (Feature(4, 0), -2.0)]
    return tracker.recipe(features, only_where=Feature(1, 39))


def changed(recipe: Recipe, **values: Any) -> bytes:
    return json.dumps(json.loads(recipe.to_json()) | values).encode()


def with_feature(recipe: Recipe, **values: Any) -> bytes:
    record = json.loads(recipe.to_json())
    record["features"][1] |= values
    return json.dumps(record).encode()


def test_a_recipe_is_read_back_as_it_was_written(recipe: Recipe, tracker: Tracker) -> None:
    assert tracker.read_recipe(recipe.to_json().encode()) == recipe
    assert tracker.read_recipe(b"\xef\xbb\xbf" + recipe.to_json().encode()) == recipe
    everywhere = replace(recipe, only_where=None)
    assert tracker.read_recipe(everywhere.to_json().encode()) == everywhere


def test_a_recipe_tells_another_tool_what_to_add(recipe: Recipe, tracker: Tracker) -> None:
    record = json.loads(recipe.to_json())
    assert record["bundle"] == "tiny" and record["saes"] == tracker.fingerprint
    first = record["features"][0]
    assert (first["layer"], first["latent"], first["strength"], first["max_activation"]) == (3, 7, 0.5, 4.0)
    assert first["label"] == tracker.labels.name(Feature(3, 7))
    assert record["only_where"]["latent"] == 39
    assert recipe.features[0].amount == 2.0


def test_a_label_may_be_missing_and_a_strength_be_a_whole_number(recipe: Recipe, tracker: Tracker) -> None:
    record = json.loads(recipe.to_json())
    del record["features"][0]["label"], record["rule"]
    record["features"][0]["strength"] = 1
    assert tracker.read_recipe(json.dumps(record).encode()).features[0].strength == 1.0


def test_a_recipe_for_other_weights_is_refused_by_hash(recipe: Recipe, tracker: Tracker) -> None:
    other = replace(tracker, saes=tracker.saes | {4: random_sae(32, seed=99)})
    with pytest.raises(TrackerError, match=f"made for other weights.*{tracker.fingerprint}.*{other.fingerprint}"):
        other.read_recipe(recipe.to_json().encode())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"strenght": 1}, "unknown key 'strenght' in features, number 2"),
        ({"strength": 1e9}, "strength in features, number 2 must be a number from -10 to 10; found 1000000000.0"),
        ({"strength": float("nan")}, "must be a number from -10 to 10; found nan"),
        ({"strength": float("-inf")}, "must be a number from -10 to 10; found -inf"),
        ({"strength": "1"}, "must be a number from -10 to 10; found '1'"),
        ({"strength": True}, "must be a number from -10 to 10; found True"),
        ({"layer": 3.5}, "layer in features, number 2 must be a whole number from 0; found 3.5"),
        ({"layer": 2}, "There is no L2/F0: this bundle has SAEs for the layers 1, 3, 4"),
        ({"latent": -1}, "latent in features, number 2 must be a whole number from 0; found -1"),
        ({"latent": 40}, "There is no L4/F40: layer 4 has the features 0 to 39"),
        ({"latent": 10**30}, "There is no L4/F1000"),
        ({"layer": 3, "latent": 7}, "L3/F7 is named twice"),
        ({"max_activation": 0}, "max_activation in features, number 2 must be a number above 0"),
        ({"max_activation": 5.0}, "counts the strength of L4/F0 in 5, but the largest activation.* is 4"),
        ({"label": None}, "label in features, number 2 must be text in quotes"),
    ],
)
def test_a_feature_that_is_wrong_is_named(recipe: Recipe, tracker: Tracker, values: dict[str, Any], said: str) -> None:
    with pytest.raises(TrackerError, match=said):
        tracker.read_recipe(with_feature(recipe, **values))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"author": "me"}, "unknown key 'author'. Take it out"),
        ({"features": []}, "1 to 3 features are steered at once; found 0"),
        ({"features": None}, "features must be a list of features; found None"),
        ({"features": [1]}, "number 1 in features must be an object in braces; found 1"),
        ({"only_where": "L1/F1"}, "only_where must be a feature, or null"),
        ({"only_where": {"layer": 1}}, "key 'latent' is missing in only_where"),
        ({"only_where": {"layer": 4, "latent": 1}}, "condition L4/F1 lies above L3/F7"),
        ({"only_where": {"layer": 1, "latent": 40}}, "There is no L1/F40"),
        ({"rule": "resid *= 2"}, "rule must be 'resid_after_block"),
        ({"saes": 5}, "saes must be text in quotes; found 5"),
    ],
)
def test_a_recipe_that_is_wrong_is_refused(recipe: Recipe, tracker: Tracker, values: dict[str, Any], said: str) -> None:
    with pytest.raises(TrackerError, match=said):
        tracker.read_recipe(changed(recipe, **values))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "no recipe for steering: Invalid JSON"),
        (b"{", "Invalid JSON"),
        (b"\xff\xfe{\x00}\x00", "Invalid JSON"),
        (b"[" * 50_000, "Invalid JSON: recursion limit"),
        (b"[]", "must be an object in braces"),
        (b"{}", "key 'bundle' is missing"),
        (b" " * (LARGEST_FILE + 1), "at most 100,000 bytes; this file has 100,001"),
    ],
    ids=["empty", "cut", "UTF-16", "deep", "list", "no keys", "big"],
)
def test_a_file_that_is_no_recipe_is_refused(tracker: Tracker, raw: bytes, said: str) -> None:
    with pytest.raises(TrackerError, match=said):
        tracker.read_recipe(raw)


@pytest.mark.parametrize(
    ("features", "only_where", "said"),
    [
        ([], None, "found 0"),
        ([(Feature(1, i), 1.0) for i in range(4)], None, "found 4"),
        ([(Feature(1, 1), 1.0), (Feature(1, 1), 2.0)], None, "named twice"),
        ([(Feature(2, 1), 1.0)], None, "There is no L2/F1"),
        ([(Feature(1, -1), 1.0)], None, "There is no L1/F-1"),
        ([(Feature(1, 1), float("nan"))], None, "found nan"),
        ([(Feature(1, 1), 10.01)], None, "from -10 to 10; found 10.01"),
        ([(Feature(4, 1), 1.0), (Feature(1, 1), 1.0)], Feature(3, 1), "lies above L1/F1"),
    ],
)
def test_what_cant_be_steered_is_refused(
    tracker: Tracker, features: list[tuple[Feature, float]], only_where: Feature | None, said: str
) -> None:
    with pytest.raises(TrackerError, match=said):
        tracker.recipe(features, only_where=only_where)


def test_a_condition_may_be_of_the_steered_layer(tracker: Tracker) -> None:
    assert tracker.recipe([(Feature(3, 1), 1.0)], only_where=Feature(3, 1)).layers == [3]


@pytest.mark.parametrize("missing", [np.nan, 0.0])
def test_a_feature_of_unknown_largest_activation_is_refused(tracker: Tracker, missing: float) -> None:
    unmeasured = replace(tracker, labels=LabelTable(tracker.labels.frame.assign(max_activation=missing)))
    with pytest.raises(TrackerError, match=r"L1/F1 can't be steered.*labels measure"):
        unmeasured.recipe([(Feature(1, 1), 1.0)])


def test_a_recipe_is_scaled_in_proportion_and_keeps_signs(recipe: Recipe) -> None:
    assert [one.strength for one in recipe.at(1).features] == [0.25, -1.0]
    assert [one.strength for one in recipe.at(0).features] == [0, 0]
    with pytest.raises(TrackerError, match="from -10 to 10"):
        recipe.at(11)


@pytest.mark.parametrize("text", ["", "16/11", "L16F11", "L16/F", "l16/f11", "L16/F11=1", "L99999/F1", "L-1/F1"])
def test_what_names_no_feature_is_refused(text: str) -> None:
    with pytest.raises(TrackerError, match="names no feature"):
        parse_feature(text)


def test_a_feature_is_named_by_layer_and_number() -> None:
    assert parse_feature(" L16/F11 ") == Feature(16, 11)
