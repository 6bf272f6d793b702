"""``make figures``: put the last run's measures and pictures, and a diagram, into the README."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import yaml

from benchmarks.table import filled
from pipeline.diagram import arrange, draw
from pipeline.network import build
from pipeline.types import Bands, Classes

README = Path("README.md")
METRICS = Path("reports/metrics.json")
MARK = "figures: written by make figures"
# Picture of the run -> picture of the README, and its width in pixels.
PICTURES = {
    Path("reports/maps/unseen.png"): (Path("docs/images/map.jpg"), 1200),
    Path("reports/figures/confusion.png"): (Path("docs/images/confusion.png"), 800),
    Path("reports/visualize/filters_conv1_1_channels.png"): (Path("docs/images/filters.png"), 800),
}
SCREEN = Path("docs/images/explorer.png")  # of the last run's page
INDEX = Path("reports/index.html")
DIAGRAM = Path("docs/images/network.svg")  # of the last network of docs/networks.md
PAGE = Path("docs/networks.md")


def diagram(text: str) -> str:
    """The last network that a page shows, as SVG."""
    layers = re.findall(r"```yaml\n(.*?)```", text, flags=re.S)[-1]
    section = yaml.safe_load(layers.replace("${activation}", "{_target_: torch.nn.ReLU}"))
    bands = Bands(("red", "green", "blue", "nir"))
    classes = Classes(("building", "barren_land", "trees", "grassland", "road", "water"))
    network = build(section["layers"], bands=bands, classes=classes, tile_size=28)
    return draw(arrange(network), f"The network {section['name']}", "Its layers, as analyze draws.")


def table(measures: dict[str, Any]) -> str:
    """The measures as Markdown, to tenths of a percent."""
    if "accuracy_ci95" not in measures:
        raise SystemExit(f"Expected a classifier's measures in {METRICS}. Run one: make repro.")
    ends = " to ".join(f"{100 * end:.1f}" for end in measures["accuracy_ci95"] or ())
    reach = f" (95 % interval {ends})" if ends else ""
    lines = [
        f"Accuracy {100 * measures['accuracy']:.1f} %{reach} on "
        f"{measures['n']:,} test tiles, from blocks of ground that training never saw:",
        "",
        "| class | producer's accuracy | user's accuracy | F1 | tiles |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, row in measures["per_class"].items():
        shares = " | ".join(f"{100 * row[key]:.1f} %" for key in ("recall", "precision", "f1"))
        lines.append(f"| {name} | {shares} | {row['support']} |")
    return "\n".join(lines)


def main() -> None:
    """Rewrite the README's figures."""
    measures = json.loads(METRICS.read_text(encoding="utf-8"))
    text = filled(README.read_text(encoding="utf-8"), MARK, table(measures))
    README.write_text(text, encoding="utf-8")
    DIAGRAM.write_text(diagram(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    for source, (target, width) in PICTURES.items():
        shrink(source, target, width)
    look(INDEX, SCREEN)


def look(page: Path, target: Path) -> None:
    """Take a picture of the page's explorer, where there is a browser; else the old one stays."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        print(f"{target} stays as it was: playwright is not installed (make .venv/developing).")
        return
    with sync_playwright() as driver:
        try:
            browser = driver.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
        except Error:
            print(f"{target} stays as it was: there is no chromium.")
            return
        tab = browser.new_page(viewport={"width": 1300, "height": 860}, color_scheme="light")
        tab.goto(page.resolve().as_uri())
        tab.click("#tab-explorer")
        tab.locator("#walk .rail button[aria-pressed=true]").wait_for()
        top = tab.locator("#walk").evaluate("box => box.getBoundingClientRect().top + scrollY")
        tab.screenshot(
            path=target,
            full_page=True,
            clip={"x": 0, "y": top - 12, "width": 1300, "height": 860},
        )
        browser.close()


def shrink(source: Path, target: Path, width: int) -> None:
    """Write a picture for a page, so many pixels wide at most."""
    from PIL import Image

    with Image.open(source) as picture:
        picture.thumbnail((width, 4 * width))
        flat = picture.convert("RGB")
        options = {"quality": 88} if target.suffix == ".jpg" else {"optimize": True}
        flat.save(target, **options)


if __name__ == "__main__":
    main()
