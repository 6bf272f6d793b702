from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config import compose
from pipeline.data import Batch, Chunks
from pipeline.errors import BundleError, ConfigError, NetworkError
from pipeline.layers import LinearToMap
from pipeline.network import Network, build
from pipeline.reconstruction import Errors, explained, psnr, spread, summarize
from pipeline.schema import AdamOptimizer, ConstantSchedule
from pipeline.tasks.reconstructor import Reconstructor
from pipeline.tasks.trainer import quiet
from pipeline.transfer import transfer
from pipeline.types import Bands, Classes
from tests import little

NONE = Classes(())
TWO = Bands(("red", "nir"))


def layers(*overrides: str) -> dict[str, Any]:
    """Those of conf/model/autoencoder.yaml."""
    composed = yaml.safe_load(compose(["model=autoencoder", *overrides]))
    found: dict[str, Any] = composed["model"]["layers"]
    return found


def autoencoder(spec: dict[str, Any] | None = None, size: int = 28, **options: Any) -> Network:
    given: dict[str, Any] = {"bands": little.BANDS, "classes": NONE, "tile_size": size}
    return build(spec or layers(), task="reconstruct", **(given | options))


def task(network: Network, average: float = 0.0) -> Reconstructor:
    return Reconstructor(
        network,
        optimizer=AdamOptimizer(name="adam", lr=0.003, betas=(0.9, 0.999), weight_decay=0),
        schedule=ConstantSchedule(name="constant"),
        epochs=4,
        epoch_steps=2,
        average=average,
    )


# The network


@pytest.mark.parametrize("size", [28, 64])
@pytest.mark.parametrize("bands", [4, 13])
def test_a_tile_comes_out_as_large_as_it_went_in(bands: int, size: int) -> None:
    names = Bands(tuple(f"b{i}" for i in range(bands)))
    made = autoencoder(size=size, bands=names).eval()
    assert made(torch.zeros(2, bands, size, size)).shape == (2, bands, size, size)
    assert made.get_parameter("decoder.unfold.weight").shape == (32 * (size // 4) ** 2, 64)


def test_the_latent_size_is_one_key() -> None:
    made = autoencoder(layers("model.layers.latent.out_features=9"))
    assert made.get_parameter("latent.weight").shape == (9, 64 * 7 * 7)
    assert made.get_parameter("decoder.unfold.weight").shape == (32 * 7 * 7, 9)


def test_a_tile_that_can_not_be_halved_twice_is_refused_with_a_size_that_can() -> None:
    with pytest.raises(NetworkError, match=r"'decoder\.unfold': .*no multiple of shrink=4.*to 32"):
        autoencoder(size=30)


def test_a_vector_is_laid_out_channel_by_channel() -> None:
    layer = LinearToMap(2, out_channels=3, shrink=4, tile_size=8)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.arange(12.0))
    out = layer(torch.zeros(5, 2))
    assert out.shape == (5, 3, 2, 2)
    assert out[4, 1].tolist() == [[4, 5], [6, 7]]


def test_another_shape_than_the_tile_s_is_refused() -> None:
    spec = {name: layer for name, layer in layers().items() if name != "decoder"}
    with pytest.raises(NetworkError, match=r"to end in \(N, 4, 28, 28\), as the tile, got \(N, 64"):
        autoencoder(spec)


def test_the_classifier_has_the_encoder_s_layers_and_takes_them_all_over() -> None:
    section = yaml.safe_load(compose(["model=encoder"]))["model"]
    assert section["layers"]["encoder"] == layers()["encoder"]
    donor = autoencoder(seed=1)
    made = build(
        section["layers"], bands=little.BANDS, classes=little.CLASSES, tile_size=28, seed=2
    )
    moved = transfer(made, donor)
    kept = [name for name in made.state_dict() if name.startswith("encoder.")]
    assert len(kept) == 5 * (1 + 5)  # a weight, and weight, bias and three statistics of the norm
    for name in kept:
        assert torch.equal(made.state_dict()[name], donor.state_dict()[name]), name
    assert list(moved.fresh) == ["fc"]


def test_a_classifier_needs_labels() -> None:
    with pytest.raises(NetworkError, match=r"labelled tiles .* without labels\. .*source\.labels"):
        build(little.LAYERS, bands=little.BANDS, classes=NONE, tile_size=little.SIZE)


# The task


def test_the_target_is_the_normalized_tile() -> None:
    made = autoencoder(
        little.AUTOENCODER, little.SIZE, bands=TWO, mean=[10.0, 100.0], std=[2.0, 4.0]
    )
    pixels = torch.tensor([14.0, 92.0])[:, None, None].expand(3, 2, 12, 12)
    outputs = torch.zeros(3, 2, 12, 12)
    outputs[:, 1] = 1.0
    # Normalized: 2 and -2; off by 2 in one band and by 3 in the other.
    loss = task(made).loss_of(outputs, Batch(pixels, torch.zeros(3, dtype=torch.int64), 1.0))
    assert loss.item() == pytest.approx((4 + 9) / 2)


def test_spectral_indices_are_no_part_of_the_target() -> None:
    spec = {"index": {"_target_": "pipeline.layers.SpectralIndices"}, **little.AUTOENCODER}
    made = autoencoder(spec, little.SIZE, mean=[1.0] * 4, std=[2.0] * 4)
    mean, deviation = made.band_statistics
    assert mean.flatten().tolist() == [1, 1, 1, 1]
    assert deviation.shape == (4, 1, 1)


def test_without_normalize_the_target_is_raw() -> None:
    spec = {name: layer for name, layer in little.AUTOENCODER.items() if name != "normalize"}
    mean, deviation = autoencoder(spec, little.SIZE).band_statistics
    assert not mean.any()
    assert (deviation == 1).all()


def smooth_tiles(count: int, size: int = 28) -> Tensor:
    """Tiles (N, 4, H, W) of raw values, each a slope of its own."""
    ramp = torch.linspace(-1, 1, size)
    angles = torch.arange(count) * 2 * math.pi / count
    slopes = angles.cos()[:, None, None] * ramp[:, None] + angles.sin()[:, None, None] * ramp
    return 100 + 50 * slopes[:, None] * torch.tensor([1.0, -1.0, 0.5, 2.0])[:, None, None]


def test_one_batch_is_drawn_again_and_every_gradient_is_finite() -> None:
    made = autoencoder(mean=[100.0] * 4, std=[30.0] * 4)
    learner = task(made)
    batch = Batch(smooth_tiles(8), torch.zeros(8, dtype=torch.int64), 1.0)
    optimizer = torch.optim.Adam(made.parameters(), lr=0.003)
    first = last = float("nan")
    for step in range(80):
        optimizer.zero_grad()
        loss = learner.loss_of(made(batch.pixels), batch)
        torch.autograd.backward(loss)
        for name, parameter in made.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
        optimizer.step()
        first, last = (loss.item() if step == 0 else first), loss.item()
    assert last < 0.05 * first


class Loader:
    """Batches of 10 and 14 tiles, unlike in size."""

    def __iter__(self) -> Iterator[Batch]:
        pixels = torch.from_numpy(little.tiles(np.arange(24) % 3, 0)).float().permute(0, 3, 1, 2)
        labels = torch.zeros(24, dtype=torch.int64)
        yield Batch(pixels[:10], labels[:10], 1.0)
        yield Batch(pixels[10:], labels[10:], 1.0)

    def __len__(self) -> int:
        return 2

    def after(self, done: int) -> Iterator[Batch]:
        return islice(iter(self), done, None)


def fit(learner: Reconstructor, epochs: int) -> pl.Trainer:
    quiet()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(learner, Chunks(Loader()), Loader())
    return trainer


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_the_validation_loss_is_that_of_the_whole_split(average: float) -> None:
    made = autoencoder(little.AUTOENCODER, little.SIZE, mean=[70.0] * 4, std=[30.0] * 4)
    learner = task(made, average)
    found = fit(learner, 3).callback_metrics
    pixels = torch.cat([batch.pixels for batch in Loader()])
    with torch.no_grad():
        apart = learner.final.eval()(pixels).double() - (pixels.double() - 70) / 30
    assert found["validation_loss"].item() == pytest.approx(apart.square().mean().item(), rel=1e-5)
    assert not any("accuracy" in name for name in found)


def test_training_learns_to_draw() -> None:
    made = autoencoder(little.AUTOENCODER, little.SIZE, mean=[70.0] * 4, std=[30.0] * 4)
    learner = task(made)
    first = fit(learner, 1).callback_metrics["validation_loss"].item()
    assert fit(learner, 60).callback_metrics["validation_loss"].item() < 0.8 * first


@pytest.mark.parametrize("monitor", ["accuracy", "balanced_accuracy", "macro_f1"])
def test_there_is_no_accuracy_to_watch(monitor: str) -> None:
    with pytest.raises(ConfigError, match=rf"^Expected train\.monitor=loss .*got .*={monitor}\.$"):
        compose(["model=autoencoder", f"train.monitor={monitor}"])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model=autoencoder", "loss=balanced"], "loss=squared_error .* reconstruct"),
        (["loss=squared_error"], "loss=cross_entropy .* classify"),
    ],
)
def test_a_loss_of_another_task_is_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        compose(overrides)


def test_an_autoencoder_brings_its_loss_and_no_scenes_along() -> None:
    params = yaml.safe_load(compose(["model=autoencoder"]))
    assert params["loss"] == {"name": "squared_error"}
    assert params["predict"]["scenes"] == {}
    assert params["augment"]["flips"]
    assert not params["augment"]["brightness"]
    asked = yaml.safe_load(compose(["model=autoencoder", "predict.scenes={a: b.tif}"]))
    assert asked["predict"]["scenes"] == {"a": "b.tif"}


# The measures


def flat(values: list[list[float]], size: int = 2) -> NDArray[Any]:
    """Tiles (N, size, size, C) of one value a band each."""
    return np.tile(np.array(values, np.uint8)[:, None, None, :], (1, size, size, 1))


def test_measures_against_numbers_by_hand() -> None:
    tiles = flat([[10, 100], [20, 100], [30, 200], [40, 200]])
    drawn = tiles.astype(np.float32)
    drawn[..., 0] += 2  # each pixel off by 2: mse 4, rmse 2
    drawn[0, :, :, 1] += 20  # one tile of four off by 20: mse 100, rmse 10
    errors = Errors.of([(tiles, drawn)])
    np.testing.assert_allclose(errors.squared, [[4, 400], [4, 0], [4, 0], [4, 0]])
    found = summarize(errors, np.array([4.0, 50.0]), TWO)
    red, nir = found["per_band"]["red"], found["per_band"]["nir"]
    # Variances: of 10, 20, 30, 40 it is 125, of 100, 100, 200, 200 it is 2500. Spans: 30 and 100.
    assert red == {
        "mse": 4 / 16, "rmse": 2.0, "r2": 1 - 4 / 125, "psnr": round(10 * math.log10(900 / 4), 6),
    }  # fmt: skip
    assert nir == {"mse": 100 / 2500, "rmse": 10.0, "r2": 1 - 100 / 2500, "psnr": 20.0}
    assert found["n"] == 4
    assert found["mse"] == (0.25 + 0.04) / 2
    assert found["r2"] == pytest.approx(1 - (4 / 16 + 100 / 2500) / (125 / 16 + 2500 / 2500))
    assert found["psnr"] == pytest.approx((red["psnr"] + nir["psnr"]) / 2, abs=1e-6)
    np.testing.assert_allclose(errors.of_tiles(np.array([4.0, 50.0]))[:2], [0.205, 0.125])


def test_psnr_of_eight_bits() -> None:
    # An error of one grey value in 255: the textbooks' 48.13 dB.
    assert psnr(1.0, 255.0) == pytest.approx(48.1308, abs=1e-4)
    assert math.isnan(psnr(0.0, 255.0))
    assert math.isnan(explained(1.0, 0.0))


def test_errors_do_not_depend_on_how_tiles_are_sliced() -> None:
    random = np.random.default_rng(0)
    tiles = random.integers(0, 60_000, (23, 5, 5, 3)).astype(np.uint16)
    drawn = (tiles + random.normal(0, 300, tiles.shape)).astype(np.float32)
    whole = Errors.of([(tiles, drawn)])
    parts = Errors.of((tiles[i : i + 7], drawn[i : i + 7]) for i in range(0, 23, 7))
    np.testing.assert_array_equal(whole.squared, parts.squared)
    np.testing.assert_allclose(whole.deviation, tiles.std(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_array_equal(whole.span, parts.span)
    np.testing.assert_array_equal(whole.span, np.ptp(tiles.astype(float), axis=(0, 1, 2)))


def test_a_perfect_copy_has_no_error_and_no_ratio() -> None:
    tiles = flat([[1, 7], [3, 7]])
    found = summarize(Errors.of([(tiles, tiles.astype(np.float32))]), np.ones(2), TWO)
    assert (found["mse"], found["r2"], found["psnr"]) == (0.0, 1.0, None)
    assert found["per_band"]["nir"]["r2"] is None  # constant: no variance to draw again


def test_tiles_shown_go_from_the_best_to_the_worst() -> None:
    errors = np.array([5.0, 1.0, 4.0, 2.0, 3.0])
    assert spread(errors, 3) == [1, 4, 0]
    assert spread(errors, 9) == [1, 3, 4, 2, 0]


# The bundle


def test_a_bundle_draws_in_the_tiles_own_units(tmp_path: Path) -> None:
    store, bundle = little.drawing_project(tmp_path)
    pixels = store.pixels("test")
    drawn = bundle.reconstructions(pixels, batch_size=7)
    assert drawn.shape == pixels.shape
    with torch.no_grad():
        x = torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2)
        normalized = bundle.network(x).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(drawn, normalized * store.std + store.mean, rtol=1e-4)
    with pytest.raises(BundleError, match="tells classes, got one that reconstructs"):
        bundle.probabilities(pixels, batch_size=7)


def test_a_classifier_draws_nothing(tmp_path: Path) -> None:
    store, bundle = little.project(tmp_path)
    with pytest.raises(BundleError, match="reconstructs its tile, got a classifier"):
        bundle.reconstructions(store.pixels("test"), batch_size=7)
