"""Arrays become pictures: each function returns a figure, ``canvas.save`` writes it."""
