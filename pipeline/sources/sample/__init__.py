"""Made-up but believable four-band scenes with their labels, the same from the same seed."""

from __future__ import annotations

from pipeline.sources.sample.render import render
from pipeline.sources.sample.spectra import BANDS, CLASSES
from pipeline.sources.sample.write import Place, make_scene, places

__all__ = ["BANDS", "CLASSES", "Place", "make_scene", "places", "render"]
