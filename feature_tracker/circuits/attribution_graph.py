"""The attribution-graph JSON, which circuit-tracer's viewer and Neuronpedia open.

Rules as read in circuit-tracer 0.5.0 (`frontend/graph_models.py`, `frontend/assets/attribution_graph`) and in
Neuronpedia's `graph-schema.json` of August 2026. A viewer shows a graph that `graph-metadata.json` lists, which
`graph_index` writes. circuit-tracer's viewer takes groups from its address only: `supernodes_query` gives that part.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

# The only type for which both viewers show a label and an activation. It is said of SAE features too.
_FEATURE = "cross layer transcoder"
_MOST_PINNED = 200  # the viewer's subgraph leaves out what comes after

# The viewer finds a logit's token between the quotes of its label, and line breaks would be invisible there.
_IN_QUOTES = str.maketrans({'"': "\u201d", "\n": "\u23ce", "\r": "\u21b5", "\t": "\u2192"})
_SLUG = re.compile("[A-Za-z0-9_-]+")  # viewers put it in an address, Neuronpedia takes no other
_TAG = re.compile("<(?=[A-Za-z/!?])")


@dataclass(frozen=True)
class FeatureNode:
    """A feature at one position."""

    layer: int  # 0-based block
    latent: int  # index in its SAE
    position: int  # index in the prompt's tokens, BOS included
    activation: float | None = None
    influence: float | None = None  # on the target; only its size in proportion to other nodes' counts
    label: str = ""

    @property
    def node_id(self) -> str:
        """`{layer}_{latent}_{position}`."""
        return f"{self.layer}_{self.latent}_{self.position}"


@dataclass(frozen=True)
class EmbeddingNode:
    """A token of the prompt."""

    position: int
    token_id: int
    text: str
    influence: float | None = None

    @property
    def node_id(self) -> str:
        """`E_{token_id}_{position}`."""
        return f"E_{self.token_id}_{self.position}"


@dataclass(frozen=True)
class ErrorNode:
    """What an SAE leaves out at one position."""

    layer: int
    position: int
    influence: float | None = None
    label: str = ""  # the viewer names the word where this is empty

    @property
    def node_id(self) -> str:
        """`{layer}_-1_{position}`."""
        # circuit-tracer 0.5.0 writes 0_{layer}_{position}, which is also feature {layer} of layer 0; later ones this.
        return f"{self.layer}_-1_{self.position}"


@dataclass(frozen=True)
class LogitNode:
    """A next token, or a difference of two. Layers above 26 are drawn only where the graph has one."""

    position: int  # the token after which it comes
    token_id: int  # for what isn't one token: the size of the vocabulary plus the place in a list of targets
    text: str
    probability: float
    n_layers: int  # blocks of the model; it stands above them
    is_target: bool = True

    @property
    def node_id(self) -> str:
        """`{n_layers + 1}_{token_id}_{position}`."""
        return f"{self.n_layers + 1}_{self.token_id}_{self.position}"


Node = FeatureNode | EmbeddingNode | ErrorNode | LogitNode


@dataclass(frozen=True)
class Link:
    """An effect of one node on another, by their ids. Viewers show its share of all that enters the target."""

    source: str
    target: str
    weight: float


@dataclass(frozen=True)
class Supernode:
    """Nodes that are shown as one. A node is in one supernode at most."""

    name: str
    members: Sequence[str]  # ids


def to_attribution_graph(
    prompt: Sequence[EmbeddingNode],
    nodes: Sequence[FeatureNode | ErrorNode | LogitNode],
    links: Sequence[Link],
    supernodes: Sequence[Supernode] = (),
    *,
    slug: str,
    scan: str,
    text: str,
    description: str = "",
) -> dict[str, Any]:
    """The graph as JSON values. Links of weight 0 are left out: a viewer divides by a node's sum of weights.

    Args:
        prompt: every token in order, BOS included. A viewer writes a word only below a column that has its node.
        slug: name of the graph and its file: letters, digits, `-` and `_`.
        scan: name of the model; on Neuronpedia its id there.
        text: the prompt as a person reads it.
        description: what else a reader should know, such as how much of the target the graph explains.

    Raises:
        ValueError: an id occurs twice, a link or group names a node that isn't there, a weight isn't a number, a node
            is in two groups, a position is outside of the prompt, or the slug has other characters.
    """
    every = [*prompt, *nodes]
    _check(prompt, every, links, supernodes, slug)
    influence = _cumulative_influence(every)
    metadata: dict[str, Any] = {
        "slug": slug,
        "scan": scan,
        "transcoder_list": [],
        "prompt_tokens": [token.text for token in prompt],
        "prompt": text,
        "schema_version": 1,  # with it, viewers decode `feature` by Cantor's pairing function
        "info": {"generator": {"name": "Feature Activation Tracker"}, "description": description},
    }
    if influence:
        metadata["node_threshold"] = 1.0  # shows all at first; a viewer's slider lowers it
    drawn = [link for link in links if link.weight]
    return {
        "metadata": metadata,
        "qParams": {
            "pinnedIds": _pinned(every, drawn, supernodes),
            "supernodes": _supernodes(supernodes),
            "linkType": "both",
            "clickedId": "",
            "sg_pos": "",
        },
        "nodes": [{**_values(node), "influence": influence.get(node.node_id)} for node in every],
        "links": [{"source": link.source, "target": link.target, "weight": float(link.weight)} for link in drawn],
    }


def graph_index(graphs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """`graph-metadata.json`, which circuit-tracer's viewer reads first; each graph lies beside it as `{slug}.json`."""
    return {"graphs": [graph["metadata"] for graph in graphs]}


def supernodes_query(graph: Mapping[str, Any]) -> str:
    """The part of an address that makes circuit-tracer's viewer show the groups: `index.html?slug=...&` and this.

    Its `init-cg.js` puts those of the address, an empty list without them, in place of the file's. It decodes twice.
    """
    groups = json.dumps(graph["qParams"]["supernodes"], separators=(",", ":"))
    return "supernodes=" + quote(quote(groups, safe=""), safe="")


def _check(
    prompt: Sequence[EmbeddingNode],
    nodes: Sequence[Node],
    links: Sequence[Link],
    supernodes: Sequence[Supernode],
    slug: str,
) -> None:
    ids = [node.node_id for node in nodes]
    ends = [(link.source, link.target) for link in links]
    members = [member for supernode in supernodes for member in supernode.members]
    unknown = ({end for pair in ends for end in pair} | set(members)) - set(ids)
    wrong = {
        "a slug of other characters than letters, digits, - and _": [] if _SLUG.fullmatch(slug) else [slug],
        "tokens out of order": [token.node_id for place, token in enumerate(prompt) if token.position != place],
        "ids that occur twice": _twice(ids),
        "links that occur twice": _twice(ends),
        "ends or members that are no node": sorted(unknown),
        "members of two groups": _twice(members),
        "links whose weight isn't a number": [link for link in links if not math.isfinite(link.weight)],
        "nodes outside of the prompt": [node.node_id for node in nodes if not 0 <= node.position < len(prompt)],
    }
    for what, found in wrong.items():
        if found:
            raise ValueError(f"An attribution graph has {what}: {found[0]!r}.")


def _twice(values: Iterable[Any]) -> list[Any]:
    return [value for value, count in Counter(values).items() if count > 1]


def _cumulative_influence(nodes: Sequence[Node]) -> dict[str, float]:
    """By id, the share of all influence that the node and those with more have together, as viewers prune by it."""
    sizes = {
        node.node_id: float(abs(node.influence))
        for node in nodes
        if not isinstance(node, LogitNode) and node.influence is not None and math.isfinite(node.influence)
    }
    total = math.fsum(sizes.values())
    if not total:
        return {}
    shares, so_far = {}, 0.0
    for node_id, size in sorted(sizes.items(), key=lambda item: -item[1]):
        so_far += size / total
        shares[node_id] = min(1.0, so_far)
    return shares


def _pinned(nodes: Sequence[Node], links: Sequence[Link], supernodes: Sequence[Supernode]) -> list[str]:
    """What the subgraph shows: groups, which are shown only where their members are pinned, then what is linked."""
    members = [member for supernode in supernodes for member in supernode.members]
    linked = {end for link in links for end in (link.source, link.target)}
    others = [node for node in nodes if node.node_id in linked - set(members) and not isinstance(node, ErrorNode)]
    others.sort(key=lambda node: -math.inf if isinstance(node, LogitNode) else -abs(node.influence or 0.0))
    return [*members, *(node.node_id for node in others)][: max(_MOST_PINNED, len(members))]


def _supernodes(supernodes: Sequence[Supernode]) -> list[list[str]]:
    """Name and members of each. The viewer knows a group by its name: it joins those of one name, and empty ones."""
    named: dict[str, Sequence[str]] = {}
    for supernode in supernodes:
        name = _plain(supernode.name).strip() or "group"
        names = itertools.chain([name], (f"{name} ({number})" for number in itertools.count(2)))
        named[next(free for free in names if free not in named)] = supernode.members
    return [[name, *members] for name, members in named.items()]


def _plain(text: str) -> str:
    # Tooltips insert labels as HTML. A zero-width space keeps `<b>` from being a tag and looks the same.
    return _TAG.sub("<\u200b", text)


def _values(node: Node) -> dict[str, Any]:
    """The node as the format has it. Viewers ignore `run_idx` and `reverse_ctx_idx`; `jsNodeId` isn't unique."""
    values = {
        "node_id": node.node_id,
        "feature": -1,
        "layer": "E",
        "ctx_idx": int(node.position),
        "feature_type": "embedding",
        "token_prob": 0.0,
        "is_target_logit": False,
        "run_idx": 0,
        "reverse_ctx_idx": 0,
        "clerp": "",
        "activation": None,
    }
    match node:
        case FeatureNode():
            values |= {
                "feature": _paired(int(node.layer), int(node.latent)),
                "layer": str(node.layer),
                "feature_type": _FEATURE,
                "jsNodeId": f"{node.layer}_{node.latent}-0",
                "clerp": _plain(node.label),
                "activation": _finite(node.activation),
            }
        case EmbeddingNode():
            values |= {"feature": int(node.position), "jsNodeId": f"E_{node.token_id}-{node.position}"}
        case ErrorNode():
            values |= {
                "layer": str(node.layer),
                "feature_type": "mlp reconstruction error",
                "jsNodeId": f"{node.layer}_-1-{node.position}",
                "clerp": _plain(node.label),
            }
        case LogitNode():
            token = _plain(node.text.translate(_IN_QUOTES))
            values |= {
                "feature": int(node.token_id),
                "layer": str(node.n_layers + 1),
                "feature_type": "logit",
                "token_prob": float(node.probability),
                "is_target_logit": bool(node.is_target),
                "jsNodeId": f"L_{node.token_id}-{node.position}",
                "clerp": f'Output "{token}" (p={node.probability:.3f})',  # a viewer stops at a logit without (p=
            }
    return values


def _paired(layer: int, latent: int) -> int:
    diagonal = layer + latent
    return diagonal * (diagonal + 1) // 2 + latent


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
