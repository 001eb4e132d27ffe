"""What environment variables and command-line options set in place of a bundle's own values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Overrides:
    """Settings as they were typed; an empty one leaves the bundle's.

    Attributes:
        model: hub id or folder.
        revision: of the hub id.
        dtype: as `Bundle.dtype`.
        layers: block indices, separated by spaces or commas.
        saes: SAE folder.
        labels: label table.
    """

    model: str = ""
    revision: str = ""
    dtype: str = ""
    layers: str = ""
    saes: str = ""
    labels: str = ""

    def __bool__(self) -> bool:
        return self != Overrides()
