"""The network as a picture: layers as boxes, branches as branches, in SVG."""

from pipeline.diagram.layout import arrange
from pipeline.diagram.svg import draw

__all__ = ["arrange", "draw"]
