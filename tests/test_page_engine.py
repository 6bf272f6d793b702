"""The network as the page's script computes it, in a real browser, beside what PyTorch gives."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline import probes, report
from pipeline.network import Network
from pipeline.page import explorer
from pipeline.page.arrays import packed
from pipeline.page.compose import colour_maps
from pipeline.page.program import Step, program
from tests import networks
from tests.browser import PATIENCE, chromium
from tests.networks import FLATTEN, HEAD, MEANS, NORMALIZE, RELU, conv, pool

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("page")]
TILES = 2
# As text: a list of numbers takes a browser's wire seconds.
ANSWERS = """() => {
  const text = values => {
    const bytes = new Uint8Array(Float32Array.from(values).buffer);
    let out = "";
    for (let i = 0; i < bytes.length; i += 8192)
      out += String.fromCharCode(...bytes.subarray(i, i + 8192));
    return btoa(out);
  };
  return [0, 1].map(tile => engine.engine().steps.map((step, i) =>
    [step.name, step.inner, text(engine.outputs(tile)[i].values)]));
}"""
ACTIVATIONS = ("LeakyReLU", "ELU", "GELU", "SiLU", "Tanh", "Sigmoid", "Hardswish", "Mish", "ReLU6")


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A blank page with the scripts that compute, and nothing else."""
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        yield page


def trained(layers: dict[str, Any] | str, **options: Any) -> Network:
    """A network as training leaves it: weights of any size, batch norms that have seen tiles."""
    if isinstance(layers, str):
        network = networks.model(layers)
    else:
        network = networks.network(layers, **options)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
        for _ in range(3):
            network.train()(torch.from_numpy(tiles(8, 3).astype(np.float32)).permute(0, 3, 1, 2))
    return network.eval()


def tiles(count: int = TILES, seed: int = 0) -> NDArray[np.uint8]:
    """Made-up tiles (N, 28, 28, 4), smooth ones, so that deep layers have something to tell."""
    rng = np.random.default_rng(seed)
    rough = rng.integers(0, 256, (count, 7, 7, 4))
    fine = rng.integers(-20, 20, (count, 28, 28, 4))
    whole = rough.repeat(4, axis=1).repeat(4, axis=2) + fine
    return np.asarray(np.clip(whole, 0, 255), dtype=np.uint8)


def computed(page: Page, network: Network, **limits: Any) -> list[dict[str, NDArray[np.float32]]]:
    """Outputs of each layer by name, for each tile, as the script computes them."""
    pixels = tiles()
    numbers = {
        "facts": {"classes": [], "colours": []},
        "album": {"pixels": packed(pixels), "tiles": [{}] * len(pixels)},
        "program": explorer.payload(network, pixels, temperature=1.0, **limits),
    }
    html = report.render(
        "page/scripts.html.j2",
        numbers=numbers,
        scripts=("core.js", "engine.js"),
        colour_maps=colour_maps(),
        last="window.engine = {engine, outputs};",
    )
    page.set_content(html)
    found = page.evaluate(ANSWERS)
    return [
        {
            n: np.frombuffer(base64.b64decode(text), np.float32)
            for n, inner, text in one
            if not inner
        }
        for one in found
    ]


def compare(page: Page, network: Network, **limits: Any) -> list[Step]:
    """Check every layer against PyTorch, to 1e-4 of the layer's largest number."""
    steps = program(network, **limits)
    names = [step.name for step in steps if not step.inner]
    heard = probes.activations(network, tiles(), names)
    assert len(set(names)) == len(names)
    for tile, found in enumerate(computed(page, network, **limits)):
        assert set(found) == set(names)
        for name in names:
            expected = heard[name][tile].ravel()
            most = float(np.abs(expected).max())
            assert most > 0, name
            apart = float(np.abs(found[name] - expected).max())
            assert apart <= 1e-4 * max(most, 1e-3), f"{name}: {apart} of {most}"
    with torch.inference_mode():
        whole = network(torch.from_numpy(tiles().astype(np.float32)).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_array_equal(heard[steps[-1].name], whole)
    return steps


@pytest.mark.parametrize("name", ["vgg", "lecture", "resnet", "mobile", "mlp"])
def test_each_layer_is_computed_as_pytorch_does(page: Page, name: str) -> None:
    steps = compare(page, trained(name))
    assert "stored" not in {step.op for step in steps}


def test_branches_shortcuts_and_dense_blocks_too(page: Page) -> None:
    steps = compare(page, trained(networks.EVERYTHING))
    wanted = {"add", "concat", "conv", "maxpool", "mean", "most", "indices", "affine"}
    assert wanted <= {step.op for step in steps}
    assert any(step.inner for step in steps)


def test_the_way_back_of_an_autoencoder(page: Page) -> None:
    steps = compare(page, trained(networks.AUTOENCODER, task="reconstruct"))
    assert {"transposed", "nearest"} <= {step.op for step in steps}


def test_every_activation_and_pooling(page: Page) -> None:
    layers: dict[str, Any] = {
        "normalize": NORMALIZE,
        "conv": conv(6, [3, 5], stride=2, padding=[0, 2], dilation=2),
        **{name.lower(): {"_target_": f"torch.nn.{name}"} for name in ACTIVATIONS},
        "mean": pool(3, "AvgPool2d", stride=2, padding=1),
        "bare": pool(2, "AvgPool2d", padding=1, count_include_pad=False),
        "most": pool(2, ceil_mode=True),
        "flatten": FLATTEN,
        "fc": HEAD,
    }
    steps = compare(page, trained(layers))
    assert "stored" not in {step.op for step in steps}


def test_what_the_script_does_not_know_comes_with_the_page(page: Page) -> None:
    layers = {
        "conv": conv(6, padding=1, padding_mode="reflect"),
        "odd": {"_target_": "torch.nn.Softplus", "beta": 2.0},
        "relu": RELU,
        "deeper": conv(5),
        "means": MEANS,
        "fc": HEAD,
    }
    steps = compare(page, trained(layers))
    assert [step.op for step in steps if step.name in ("conv", "odd")] == ["stored", "stored"]
    assert [step.op for step in steps if step.name in ("relu", "deeper")] == ["activation", "conv"]


def test_layers_that_are_too_large_come_with_the_page(page: Page) -> None:
    steps = compare(page, trained("lecture"), weights=2000)
    assert [step.name for step in steps if step.op == "stored"] == ["fc"]
    steps = compare(page, trained("lecture"), macs=100_000)
    assert [step.name for step in steps if step.op == "stored"] == ["conv"]
