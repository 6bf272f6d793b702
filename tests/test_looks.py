"""Looks at every model: what they draw, and that none leaves a hook behind."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from pipeline import bundle as bundles
from pipeline import probes
from pipeline.bundle import Bundle
from pipeline.figures import canvas
from pipeline.looks.base import Look
from pipeline.looks.choosing import tiles_of
from pipeline.network import Network, Task, build
from pipeline.schema import VisualizeSection
from pipeline.stages.visualize import LOOKS
from pipeline.trained import Trained
from pipeline.types import Bands, Classes
from tests import little
from tests.networks import AUTOENCODER, EVERYTHING, MODELS, model, network

SECTION = VisualizeSection(
    layers=None,
    filters=None,
    tiles=[0],
    kernel_band=None,
    batch_size=16,
    **little.LOOK,
)


def untrained(made: Network, folder: Path, dtype: str = "uint8") -> Trained:
    """A network with weights as they were drawn, beside a store of tiles of its kind."""
    store = little.noise(folder / "tiles", made.bands, made.classes, made.tile_size, dtype)
    kept = bundles.save(made, data_digest=store.digest, params={}, root=folder / "models")
    return Trained(store, kept)


def hooks(made: nn.Module) -> int:
    """Hooks of all modules."""
    return sum(
        len(part._forward_hooks) + len(part._forward_pre_hooks) + len(part._backward_hooks)
        for part in made.modules()
    )


def look_of(trained: Trained, out: Path, **changes: Any) -> Look:
    """A look with its tiles chosen."""
    out.mkdir()
    settings = SECTION.model_copy(update=changes)
    return Look(trained, tiles_of(trained, settings), settings, out)


@pytest.fixture
def unpainted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not painted, which takes most of the time."""

    def save(_: Figure, path: Path) -> Path:
        assert not path.exists()
        path.touch()
        return path

    monkeypatch.setattr(canvas, "save", save)


@pytest.mark.usefixtures("unpainted")
@pytest.mark.parametrize("name", MODELS)
def test_every_model_can_be_looked_into(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained = untrained(model(name), tmp_path)
    inside = trained.bundle.network
    before = {key: value.clone() for key, value in inside.state_dict().items()}
    look = look_of(trained, tmp_path / "out")
    sections = [section for draw in LOOKS for section in draw(look)]
    assert hooks(inside) == 0
    assert all(torch.equal(value, before[key]) for key, value in inside.state_dict().items())
    keys = [section.key for section in sections]
    assert len(keys) == len(set(keys))
    first = probes.first_convolution(inside)
    assert ("filters" if first is None else f"filters-{first}") in keys
    shown = [picture.path for section in sections for picture in section.pictures]
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {p.name for p in shown}
    assert len(shown) == len(set(shown))


@pytest.fixture
def broken(tmp_path: Path) -> tuple[Look, Bundle]:
    """A look at a network whose last layer raises."""
    store, bundle = little.project(tmp_path)
    trained = Trained(store, bundle)
    look = look_of(trained, tmp_path / "out")

    def fail(*_: object) -> None:
        raise RuntimeError("broken on purpose")

    head = bundle.network.get_submodule("head")
    head.forward = fail
    return look, bundle


@pytest.mark.parametrize("draw", LOOKS, ids=lambda draw: draw.__module__.rpartition(".")[2])
def test_no_hook_stays_when_a_module_raises(draw: Any, broken: tuple[Look, Bundle]) -> None:
    look, bundle = broken
    bundle.network.train()
    with suppress(RuntimeError):  # not all looks run the network
        draw(look)
    assert hooks(bundle.network) == 0
    assert all(part.training for part in bundle.network.modules())


def test_the_looks_at_convolutions_do_run_the_network(broken: tuple[Look, Bundle]) -> None:
    """Else the test above would see no hook come, let alone stay."""
    from pipeline.looks import convolutions

    with pytest.raises(RuntimeError, match="on purpose"):
        convolutions.draw(broken[0])


@pytest.mark.usefixtures("unpainted")
@pytest.mark.parametrize("layers", [EVERYTHING, AUTOENCODER])
def test_composites_and_indices_are_named_as_what_a_filter_sees(
    layers: dict[str, Any], tmp_path: Path
) -> None:
    from pipeline.looks import convolutions
    from pipeline.looks.layers import Sight

    task: Task = "reconstruct" if layers is AUTOENCODER else "classify"
    trained = untrained(network(layers, task=task), tmp_path)
    inside = trained.bundle.network
    all_of_them = probes.convolutions(inside)
    look = look_of(trained, tmp_path / "out", layers=all_of_them[:4])
    sections = convolutions.draw(look)
    assert len(sections) == 3 * len(all_of_them[:4])
    sight = Sight.of(inside, all_of_them[0])
    own = ("nir over red", "green over nir") if layers is EVERYTHING else ()
    assert sight.channels == (*inside.bands, *own)
    assert "one deviation of its band" in sight.normalized
    assert Sight.of(inside, all_of_them[1]).bands is None


@pytest.mark.usefixtures("unpainted")
@pytest.mark.parametrize(("count", "names"), [(1, ()), (2, ("a", "b")), (13, ("a", "b", "c"))])
def test_any_number_of_bands_and_of_classes_can_be_looked_at(
    count: int, names: tuple[str, ...], tmp_path: Path
) -> None:
    known = ("red", "nir", "green", "blue", *(f"B{i}" for i in range(9)))
    bands, classes = Bands(known[:count]), Classes(names)
    layers = little.LAYERS if names else little.AUTOENCODER
    task: Task = "classify" if names else "reconstruct"
    made = build(layers, bands=bands, classes=classes, tile_size=12, task=task)
    look = look_of(untrained(made, tmp_path, "uint16"), tmp_path / "out")
    sections = {section.key: section for draw in LOOKS for section in draw(look)}
    first = probes.convolutions(made)[0]
    colours = [picture.heading for picture in sections[f"filters-{first}"].pictures]
    assert ("In natural colour" in colours) == (count > 1)
    classwise = [picture.heading for picture in sections[f"excitement-{first}"].pictures]
    assert ("By class" in classwise) == bool(names)
