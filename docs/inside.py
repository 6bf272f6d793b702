"""``python -m docs.inside``: the pictures of docs/inside.md, of the default run."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from docs.figures import shrink
from pipeline.__main__ import main as command

PAGE = Path("docs/inside.md")
# Picture of the page -> its width in pixels, and what draws it: a command, or the run itself.
PICTURES: dict[Path, tuple[int, list[str] | Path]] = {
    Path("docs/images/inside_tile.jpg"): (1200, ["show", "507"]),
    Path("docs/images/inside_kernel.jpg"): (
        1000, ["kernel", "sobel_x", "--tile", "507", "--band", "nir"],
    ),
    Path("docs/images/inside_exciting.jpg"): (
        1200, Path("reports/visualize/exciting_conv3_1.png"),
    ),
}  # fmt: skip


def main() -> None:
    """Draw them anew."""
    for target, (width, source) in PICTURES.items():
        if isinstance(source, Path):
            shrink(source, target, width)
            continue
        with TemporaryDirectory() as folder:
            path = Path(folder) / "picture.png"
            if command([*source, "--out", str(path)]):
                raise SystemExit(1)
            shrink(path, target, width)


if __name__ == "__main__":
    main()
