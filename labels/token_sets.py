"""Named sets of tokens that rules speak of: classes with a name, and groups of words that the model treats alike."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy.cluster.hierarchy import linkage

from labels.classes import token_classes

MIN_COUNT = 8
"""Occurrences in the training text below which a token joins no group: its firings say too little."""

N_GROUPS = 256
"""Smallest groups; every union of groups on their tree is a set, too."""


@dataclass(frozen=True)
class TokenSets:
    """Sets of tokens.

    Attributes:
        forms: (vocabulary,) what each token is called, see `word_form`.
        group_of: (vocabulary,) int32 smallest group of each token, -1 for none.
        names: name of every set: classes first, then smallest groups, then unions.
        classes: (vocabulary, n_classes) bool.
        unions: the smallest groups in every set that is not a class.
        mass: (n_sets,) share of the training text's tokens in each set.
    """

    forms: np.ndarray
    group_of: np.ndarray
    names: list[str]
    classes: np.ndarray
    unions: list[list[int]]
    mass: np.ndarray

    @cached_property
    def members(self) -> np.ndarray:
        """(vocabulary, n_sets) bool."""
        n_groups = int(self.group_of.max()) + 1
        in_group = np.zeros((n_groups + 1, len(self.unions)), bool)  # the last row is for tokens of no group
        for column, union in enumerate(self.unions):
            in_group[union, column] = True
        return np.concatenate([self.classes, in_group[self.group_of]], axis=1)

    @cached_property
    def number(self) -> dict[str, int]:
        """Index of every set by name."""
        return {name: index for index, name in enumerate(self.names)}

    @cached_property
    def tokens_of(self) -> dict[str, list[int]]:
        """Tokens of every word form."""
        found: dict[str, list[int]] = {}
        for token, form in enumerate(self.forms):
            found.setdefault(form, []).append(token)
        return found

    def is_class(self, index: int) -> bool:
        """Whether a set is a class, whose name says what is in it."""
        return index < self.classes.shape[1]


def build_token_sets(
    texts: list[str], bos_id: int, counts: np.ndarray, profiles: np.ndarray, *, seed: int
) -> TokenSets:
    """Group tokens by the features that fire on them.

    Args:
        counts: (vocabulary,) occurrences in the training text.
        profiles: (vocabulary, n_features) how often each feature fires on each token, see `firing_profiles`.
    """
    known = np.flatnonzero(counts >= MIN_COUNT)
    # Between counting every word once (rare words rule) and every occurrence (articles rule).
    weights = counts[known] ** 0.75
    labels, centres = _kmeans(profiles[known], weights, min(N_GROUPS, len(known)), seed)
    used, labels = np.unique(labels, return_inverse=True)
    group_of = np.full(len(texts), -1, np.int32)
    group_of[known] = labels
    unions = [[index] for index in range(len(used))]
    for left, right, _, _ in linkage(centres[used], "ward")[:-1]:
        unions.append(sorted(unions[int(left)] + unions[int(right)]))
    classes = token_classes(texts, bos_id)
    return _named(word_forms(texts), group_of, classes, unions, counts)


def save_token_sets(sets: TokenSets, path: Path) -> None:
    """Write the groups and the unions as JSON; classes are defined in code."""
    groups = [np.flatnonzero(sets.group_of == group).tolist() for group in range(int(sets.group_of.max()) + 1)]
    names = sets.names[sets.classes.shape[1] :]
    content = {
        "groups": groups,
        "sets": [{"name": n, "groups": u} for n, u in zip(names, sets.unions, strict=True)],
        "mass": [round(float(mass), 6) for mass in sets.mass],
    }
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


def load_token_sets(path: Path, texts: list[str], bos_id: int) -> TokenSets:
    """Read what `save_token_sets` wrote, for the same vocabulary."""
    content = json.loads(path.read_text(encoding="utf-8"))
    group_of = np.full(len(texts), -1, np.int32)
    for group, ids in enumerate(content["groups"]):
        group_of[ids] = group
    classes = token_classes(texts, bos_id)
    names = [*classes, *(entry["name"] for entry in content["sets"])]
    unions = [entry["groups"] for entry in content["sets"]]
    return TokenSets(
        word_forms(texts), group_of, names, np.stack(list(classes.values()), axis=1), unions, np.array(content["mass"])
    )


def firing_profiles(fired: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Square roots of firing rates against the feature's own, (vocabulary, n_latents) float32.

    Args:
        fired: (vocabulary, n_latents) positions of each token on which each latent fires.
        counts: (vocabulary,) positions of each token.

    The root evens out the variance of rates; rare tokens are drawn to the feature's density by 20 made-up positions.
    """
    density = fired.sum(axis=0) / counts.sum()
    rates = (fired + 20 * density) / (counts + 20)[:, None]
    return (np.sqrt(rates) - np.sqrt(density)).astype(np.float32)


def _kmeans(points: np.ndarray, weights: np.ndarray, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Weighted k-means: (cluster of every point, centres). SciPy's takes no weights."""
    draw = np.random.default_rng(seed).choice(len(points), k, replace=False, p=weights / weights.sum())
    x, w = torch.from_numpy(points), torch.from_numpy(weights.astype(np.float32))
    centres = x[torch.from_numpy(draw)]
    for _ in range(25):
        nearest = (centres.pow(2).sum(dim=1) - 2 * x @ centres.T).argmin(dim=1)
        mass = torch.zeros(k).index_add_(0, nearest, w)
        sums = torch.zeros_like(centres).index_add_(0, nearest, x * w[:, None])
        centres = torch.where(mass[:, None] > 0, sums / mass.clamp(min=1e-9)[:, None], centres)
    return nearest.numpy(), centres.numpy()


def _named(
    forms: np.ndarray, group_of: np.ndarray, classes: dict[str, np.ndarray], unions: list[list[int]], counts: np.ndarray
) -> TokenSets:
    """Name every union by its most frequent words, as many as tell it from the others."""
    names = list(classes)
    taken = set(names)
    by_count = [ids[np.argsort(-counts[ids])] for ids in _ids_of(group_of)]
    for union in unions:
        ids = np.concatenate([by_count[group] for group in union])
        words = list(dict.fromkeys(str(forms[i]) for i in ids[np.argsort(-counts[ids], kind="stable")]))
        length = 4
        while (name := ", ".join(words[:length])) in taken and length < len(words):
            length += 1
        while name in taken:
            name += "'"
        names.append(name)
        taken.add(name)
    stacked = np.stack(list(classes.values()), axis=1)
    sets = TokenSets(forms, group_of, names, stacked, unions, np.zeros(len(names)))
    return TokenSets(forms, group_of, names, stacked, unions, counts @ sets.members / counts.sum())


def _ids_of(group_of: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(group_of == group) for group in range(int(group_of.max()) + 1)]


def word_forms(texts: list[str]) -> np.ndarray:
    """`word_form` of a whole vocabulary."""
    return np.array([word_form(text) for text in texts], dtype=object)


_SIGNS = {
    ",": "comma", ".": "full stop", ";": "semicolon", ":": "colon", "?": "question mark", "!": "exclamation mark",
    "-": "hyphen", "–": "dash", "—": "dash", "--": "dash", "'": "apostrophe", "’": "apostrophe",
    '"': "quotation mark", "“": "opening quotation mark", "”": "closing quotation mark", "(": "opening bracket",
    ")": "closing bracket", "[": "opening bracket", "]": "closing bracket", "$": "dollar sign", "%": "percent sign",
    "/": "slash", "<": "less-than sign", ">": "greater-than sign", "&": "ampersand", ",\"": "comma and quotation mark",
    ".\"": "full stop and quotation mark", "),": "bracket and comma", ").": "bracket and full stop",
}  # fmt: skip


def word_form(text: str) -> str:
    """What a token is called: case and outer spaces don't matter, but the inside of a word is told from a word.

    ` Rate`, `Rate` and ` rate` are all `rate`; the `rate` that goes on a word is `-rate`. Common signs have names,
    because a list of words parted by commas can't show a comma.
    """
    bare = text.strip(" ")
    if bare in _SIGNS:
        return _SIGNS[bare]
    if bare == "":
        return "space"
    if bare.strip("\n\t\r") == "":
        return "line break"
    return f"-{bare}" if text[0].isalpha() and text[0].islower() else bare.lower()
