"""The whole page in a real browser: from the disk, in a frame, on paper, without a script."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pipeline import evidence, probes
from pipeline.bundle import Bundle
from pipeline.page.album import choose, measured
from pipeline.page.program import program
from pipeline.schema import (
    AnalyzeSection,
    EvaluateSection,
    InitSection,
    ModelSection,
    PredictSection,
    TrainSection,
    VisualizeSection,
)
from pipeline.stages import analyze, evaluate, visualize
from pipeline.store import Store
from tests import little
from tests.browser import PATIENCE, chromium
from tests.conftest import ROOT
from tests.test_train import TRAIN

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("page")]
PICTURES = ROOT / "tests" / "artifacts"  # git ignores it
WIDE, NARROW = (1600, 1000), (400, 800)
VIEWS = ["overview", "confusion", "measures", "maps", "network", "explorer", "inside", "data"]
SECTION = VisualizeSection(
    layers=None, filters=None, tiles=None, kernel_band=None, batch_size=8, **little.LOOK
)
CURVES = "epoch,train_loss,validation_loss,validation_accuracy\n1,1.2,1.1,0.5\n2,0.9,0.8,0.75\n"


def written(folder: Path, layers: dict[str, Any], scenes: tuple[str, ...] = ()) -> Path:
    """The page of a little project, all stages but training run on it."""
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    try:
        task: Any = "reconstruct" if layers is little.AUTOENCODER else "classify"
        model = ModelSection(name="little", task=task, layers=dict(layers))
        train = TrainSection.model_validate(TRAIN)
        section = AnalyzeSection(batch_size=8, strict=False)
        analyze.run(section, model, InitSection(name="he"), train)
        evaluate.run(EvaluateSection(split="test", batch_size=8), little.ENGINE, little.UNTRACKED)
        (folder / "reports/train").mkdir()
        (folder / "reports/train/curves.csv").write_text(CURVES)
        predict = PredictSection(scenes=dict.fromkeys(scenes, "a.tif"), stride=None, batch_size=8)
        for scene in scenes:  # any picture will do
            (folder / "reports/maps").mkdir()
            some = (folder / "reports/figures/roc.png").read_bytes()
            (folder / f"reports/maps/{scene}.png").write_bytes(some)
        visualize.run(SECTION, predict, little.ENGINE, little.UNTRACKED)
    finally:
        patch.undo()
    return folder / "reports" / "index.html"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Store, Bundle]:
    folder = tmp_path_factory.mktemp("page")
    (folder / "data").mkdir()
    store = little.store(folder / "data" / "tiles")
    bundle = little.train(store, folder / "models", steps=4)  # some mistakes are left
    return written(folder, little.LAYERS, ("far_east",)), store, bundle


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


class Watched:
    """A page of which every complaint and every request is kept."""

    def __init__(self, browser: Browser, size: tuple[int, int] = WIDE, **options: Any) -> None:
        self.page = browser.new_page(viewport={"width": size[0], "height": size[1]}, **options)
        self.page.set_default_timeout(PATIENCE)
        self.told: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.told.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.told.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def open(self, path: Path) -> Page:
        self.page.goto(path.as_uri(), wait_until="domcontentloaded")
        return self.page

    def check(self) -> None:
        assert self.told == []
        outside = [url for url in self.asked[1:] if not url.startswith(("data:", "blob:"))]
        assert outside == []
        self.page.close()


@pytest.fixture(scope="module")
def wide(browser: Browser, made: tuple[Path, Store, Bundle]) -> Iterator[Watched]:
    watched = Watched(browser)
    watched.open(made[0])
    yield watched
    watched.check()


def views(page: Page) -> list[str]:
    found: list[str] = page.evaluate("[...document.querySelectorAll('.view')].map(v => v.id)")
    return found


def seen(page: Page) -> list[str]:
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('.view')].filter(v => v.offsetHeight).map(v => v.id)"
    )
    return found


def problems(page: Page) -> list[str]:
    """What axe finds that is serious or worse, in what is shown."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core")
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def test_it_is_there_within_two_seconds(browser: Browser, made: tuple[Path, Store, Bundle]) -> None:
    watched = Watched(browser)
    page = watched.open(made[0])
    took = page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
    assert took < 2000
    assert seen(page) == ["overview"]  # by now the script has run
    watched.check()


def test_every_view_opens_by_click_and_by_keyboard(wide: Watched) -> None:
    page = wide.page
    assert views(page) == VIEWS
    for view in reversed(VIEWS):
        page.click(f"#tab-{view}")
        assert seen(page) == [view]
    page.focus("#tab-overview")
    for view in [*VIEWS[1:], VIEWS[0]]:  # from the last to the first
        page.keyboard.press("ArrowRight")
        assert seen(page) == [view]
        assert page.evaluate("document.activeElement.id") == f"tab-{view}"
    page.keyboard.press("End")
    assert seen(page) == ["data"]
    assert page.locator('[role="tab"][aria-selected="true"]').count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_it_fits_and_all_can_read_it(
    browser: Browser, made: tuple[Path, Store, Bundle], size: tuple[int, int], scheme: Any
) -> None:
    watched = Watched(browser, size, color_scheme=scheme)
    page = watched.open(made[0])
    PICTURES.mkdir(exist_ok=True)
    for view in VIEWS:
        page.click(f"#tab-{view}")
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0], view
        page.screenshot(path=PICTURES / f"page-{view}-{size[0]}-{scheme}.png", full_page=True)
        if (size == WIDE) == (scheme == "dark"):  # each of them once: axe takes a while
            assert problems(page) == [], view
    watched.check()


def test_a_cell_opens_its_tiles_and_a_tile_all_that_is_known_of_it(
    wide: Watched, made: tuple[Path, Store, Bundle]
) -> None:
    page, (path, store, _) = wide.page, made
    heard = evidence.read(path.parent / "probabilities.parquet")
    wrong = np.flatnonzero(~heard.hits)
    assert len(wrong)
    counts = heard.counts - np.diag(np.diag(heard.counts))
    actual, said = np.unravel_index(counts.argmax(), counts.shape)
    page.click("#tab-confusion")
    cell = page.locator(f'td[data-true="{actual}"][data-said="{said}"] button')
    assert cell.get_attribute("aria-pressed") == "true"  # the commonest mistake is open at first
    mine = [i for i in wrong if (heard.actual[i], heard.predicted[i]) == (actual, said)]
    tiles = page.locator("#cell .tiles button")
    assert tiles.count() == len(mine) == counts.max()
    surest = max(mine, key=lambda i: heard.confidence[i])
    card = page.locator("#about-tile article")
    name, other = store.classes.names[actual], store.classes.names[said]
    assert f"{heard.ids[surest]}: {name}, taken for {other}" in card.inner_text()
    shown = [float(text.rstrip("%")) for text in card.locator(".shares .num").all_inner_texts()]
    np.testing.assert_allclose(shown, 100 * heard.probabilities[surest], atol=0.06)
    assert card.locator(".looks canvas").count() == 2 + 2 * 3  # of both classes by three methods
    assert card.locator(".ground rect").count() == 2  # one mark, with a rim
    where = store.index.set_index("id").loc[heard.ids[surest]]
    assert f"row 0, column {where['window_col']}, 12" in card.inner_text()
    right = page.locator('td[data-true="1"][data-said="1"] button')
    right.focus()
    page.keyboard.press("Enter")
    assert "trees, recognised" in page.locator("#cell h2").inner_text()
    page.locator("#cell .tiles button").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.locator("#cell .tiles button").nth(1).get_attribute("aria-pressed") == "true"
    card.get_by_role("button", name="Walk it through the network").click()
    assert seen(page) == ["explorer"]
    assert "trees (true)" in page.locator("#walk .shares").inner_text()


def test_the_explorer_shows_what_pytorch_computes(
    wide: Watched, made: tuple[Path, Store, Bundle]
) -> None:
    page, (_, store, bundle) = wide.page, made
    page.click("#tab-explorer")
    tile = page.evaluate("quadband.state().tile")
    names = [step.name for step in program(bundle.network)]
    row = page.evaluate(f"quadband.album().tiles[{tile}].row")
    pixels = store.at(np.array([row]))
    heard = probes.activations(bundle.network, pixels, names)
    for i, name in enumerate(names):
        found = np.array(page.evaluate(f"Array.from(quadband.outputs({tile})[{i}].values)"))
        expected = heard[name][0].ravel()
        assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max(), name
    told = page.locator("#walk .shares .num").all_inner_texts()
    shares = bundle.probabilities(pixels, batch_size=1)[0]
    np.testing.assert_allclose([float(t.rstrip("%")) for t in told], 100 * shares, atol=0.06)


def number(text: str) -> float:
    """A number as the page writes it, with a minus that is one."""
    return float(text.replace("\N{MINUS SIGN}", "-"))


def at(page: Page, place: str) -> list[float]:
    """Left and top of the lit window, in pixels of the map it lies on."""
    left, top, width = page.evaluate(
        f"""(() => {{ const map = document.querySelector('{place}');
            const box = map.querySelector('.box');
            return [box.style.left, box.style.top, map.querySelector('canvas').width]; }})()"""
    )
    return [round(float(side.rstrip("%")) * width / 100, 3) for side in (left, top)]


def test_arrow_keys_move_the_window_by_the_stride(
    wide: Watched, made: tuple[Path, Store, Bundle]
) -> None:
    page, (_, store, bundle) = wide.page, made
    page.click("#tab-explorer")
    for layer, stride, role in (("conv1", 1, "convolution"), ("pool1", 2, "pooling")):
        page.locator("#walk .rail button", has_text=layer).click()
        page.fill("#walk-channel", "3")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "walk-channel"
        target = page.locator("#walk .result [role=application]")
        target.focus()
        for _ in range(12):  # into the corner
            page.keyboard.press("ArrowLeft")
            page.keyboard.press("ArrowUp")
        state = page.evaluate("quadband.state()")
        assert (state["y"], state["x"], state["channel"]) == (0, 0, 3), role
        assert at(page, "#walk .bench .map") == [0, 0]
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        assert at(page, "#walk .bench .map") == [stride, 2 * stride]
        assert at(page, "#walk .pick .map") == [stride, 2 * stride]  # on the tile
        row = page.evaluate("quadband.album().tiles[quadband.state().tile].row")
        heard = probes.activations(bundle.network, store.at(np.array([row])), [layer])
        told = page.locator("#walk .total b").inner_text()
        assert number(told) == pytest.approx(heard[layer][0, 3, 2, 1], rel=1e-3, abs=1e-4)
        assert f"Stride {stride}: a step here moves the window by {stride} pixel" in (
            page.locator("#walk .stage > p").first.inner_text()
        )


def test_the_products_of_a_window_are_told(wide: Watched, made: tuple[Path, Store, Bundle]) -> None:
    page, (_, store, bundle) = wide.page, made
    page.click("#tab-explorer")
    page.locator("#walk .rail button", has_text="conv1").click()
    state = page.evaluate("quadband.state()")
    row = page.evaluate(f"quadband.album().tiles[{state['tile']}].row")
    seen_by = probes.activations(bundle.network, store.at(np.array([row])), ["normalize"])
    y, x = state["y"], state["x"]
    window = seen_by["normalize"][0][:, y : y + 3, x : x + 3]
    weights = probes.filters(bundle.network, "conv1")[state["channel"]]
    told = page.locator("#walk .sum b").all_inner_texts()
    sums = [number(text) for text in told]
    np.testing.assert_allclose(sums, (window * weights).sum(axis=(1, 2)), rtol=0.02, atol=1e-3)
    cells = page.locator("#walk .sum .cells td").all_inner_texts()
    first = [number(cell.split("\n")[0]) for cell in cells[:9]]
    np.testing.assert_allclose(first, (window * weights)[0].ravel(), rtol=0.06, atol=1e-3)


def test_a_layer_of_the_diagram_opens_its_weights_and_answers(wide: Watched) -> None:
    page = wide.page
    page.click("#tab-network")
    page.locator('.diagram [data-layer="conv2"]').focus()
    page.keyboard.press("Enter")
    card = page.locator("#layer")
    assert card.locator("h3").inner_text() == "conv2"
    assert "Conv2d 3x3" in card.locator("dl").inner_text()
    assert card.locator(".layers-holds canvas").count() == 1
    assert card.locator(".maps button").count() == 4
    page.locator('tr[data-layer="pool1"] button').click()
    assert card.locator("h3").inner_text() == "pool1"
    card.locator(".maps button").nth(2).click()
    assert seen(page) == ["explorer"]
    state = page.evaluate("quadband.state()")
    layer = page.evaluate("quadband.engine()")[state["step"]]["name"]
    assert (layer, state["channel"]) == ("pool1", 2)


FRAME = """html => new Promise(done => {
  const frame = document.createElement("iframe");
  frame.sandbox = "allow-scripts";
  frame.onload = done;
  frame.src = URL.createObjectURL(new Blob([html], {type: "text/html"}));
  document.body.append(frame);
})"""


def test_it_opens_in_a_frame_as_mlflow_shows_it(
    browser: Browser, made: tuple[Path, Store, Bundle]
) -> None:
    watched = Watched(browser)
    watched.page.goto("about:blank")
    watched.page.evaluate(FRAME, made[0].read_text(encoding="utf-8"))
    frame = watched.page.frames[1]
    for view in ("explorer", "confusion", "maps"):
        frame.evaluate(f"document.getElementById('tab-{view}').click()")
        assert frame.evaluate(f"document.getElementById('{view}').hidden") is False
    assert frame.evaluate("document.querySelectorAll('#walk canvas').length") > 10
    frame.evaluate("document.querySelector('#overview a[href=\"#maps\"]').click()")
    assert frame.url.startswith("blob:")
    watched.check()


def test_without_a_script_and_on_paper_all_of_it_is_there(
    browser: Browser, made: tuple[Path, Store, Bundle]
) -> None:
    bare = Watched(browser, java_script_enabled=False)
    page = bare.open(made[0])
    for view in VIEWS:
        assert page.locator(f"#{view}").is_visible(), view
    assert page.locator("noscript").is_visible()
    bare.check()
    printed = Watched(browser)
    page = printed.open(made[0])
    page.emulate_media(media="print")
    assert seen(page) == VIEWS
    printed.check()


def _mlp(folder: Path) -> Path:
    little.project(folder, little.MLP)
    return written(folder, little.MLP)


def _drawing(folder: Path) -> Path:
    little.drawing_project(folder)
    return written(folder, little.AUTOENCODER)


def _ensemble(folder: Path) -> Path:
    little.ensemble_project(folder)
    return written(folder, little.LAYERS)


@pytest.mark.parametrize("make", [_mlp, _drawing, _ensemble])
def test_pages_of_other_networks_make_sense(browser: Browser, tmp_path: Path, make: Any) -> None:
    path = make(tmp_path)
    watched = Watched(browser)
    page = watched.open(path)
    wanted = [view for view in VIEWS if view != "maps"]
    if make is _drawing:
        wanted = [view for view in wanted if view not in ("confusion", "measures")]
    assert views(page) == wanted
    for view in wanted:
        page.click(f"#tab-{view}")
        assert seen(page) == [view]
    page.click("#tab-explorer")
    assert problems(page) == []
    for name in page.locator("#walk .rail button").all():
        name.click()
        assert page.locator("#walk .total b").count() == 1
    if make is _drawing:
        assert "decoder.conv" in page.locator("#walk .stage h3").inner_text()
        assert re.search(r"red\b", page.locator("#walk .result h4").first.inner_text())
    if make is _ensemble:
        assert "member 1 of 3, little" in page.locator("#explorer").inner_text()
    watched.check()


def test_wrong_tiles_of_many_are_bounded(made: tuple[Path, Store, Bundle]) -> None:
    path, store, _ = made
    heard = measured(store, path.parent)
    assert heard is not None
    album = choose(store, [], heard)
    assert album.wrong == album.shown_wrong == (~heard.hits).sum()
