"""Land-cover classification of four-band tiles with networks designed layer by layer."""
