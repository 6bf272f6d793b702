"""What made the network say so: maps of each tile of the album, for its class and what was said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline import attributions
from pipeline.page.album import Album
from pipeline.page.arrays import packed, signed_bytes

if TYPE_CHECKING:
    from pipeline.network import Network

TITLES: dict[attributions.Method, str] = {
    "integrated_gradients": "integrated gradients",
    "occlusion": "occlusion",
    "grad_cam": "Grad-CAM",
}
TEXT = (
    "Red spoke for the class, blue against it; each picture has a scale of its own. Bands are "
    "added up. Integrated gradients go from the mean tile to this one; occlusion hides square "
    "after square; Grad-CAM, bright where much speaks for the class, weighs the maps of the last "
    "convolution."
)
MOST = 200  # maps of a method


def targets(album: Album) -> list[tuple[int, int]]:
    """Tile of the album and class: what was said, and where that is wrong the true class too."""
    if album.evidence is None:
        return []
    found: list[tuple[int, int]] = []
    for tile, told in enumerate(album.told.tolist()):
        if told >= 0:
            said, actual = (int(x[told]) for x in (album.evidence.predicted, album.evidence.actual))
            found += [(tile, label) for label in dict.fromkeys((said, actual))]
    return found[:MOST]


def payload(network: Network, pixels: NDArray[Any], album: Album) -> dict[str, Any] | None:
    """All maps for the page's scripts; None where there is nothing to explain."""
    wanted = targets(album)
    if not wanted:
        return None
    chosen = pixels[[tile for tile, _ in wanted]]
    labels = np.array([label for _, label in wanted], np.int64)
    reasons = attributions.fitting(network, pixels[:1])
    methods = [method for method in TITLES if not reasons.get(method)]
    if not methods:
        return None
    maps = [
        attributions.attribute(network, chosen, labels, method).sum(axis=-1) for method in methods
    ]
    return {
        "methods": [{"title": TITLES[m], "signed": m != "grad_cam"} for m in methods],
        "text": TEXT,
        "of": [list(pair) for pair in wanted],
        "maps": packed(signed_bytes(np.stack(maps, axis=1))),
    }
