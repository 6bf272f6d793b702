"""Looks at a trained network: each module draws a section of the page."""
