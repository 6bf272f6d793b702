"""The bundle for other programs: ``models/export/`` with ONNX and a model card."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pipeline import beside
from pipeline import bundle as bundles
from pipeline.beside import Baseline
from pipeline.bundle import Bundle
from pipeline.console import say
from pipeline.network import Network
from pipeline.voting import view_count

if TYPE_CHECKING:
    from pipeline.schema import EvaluateSection, ExportSection

MODELS = Path("models")
EXPORT = MODELS / "export"
METRICS = Path("reports/metrics.json")
ONNX = "model.onnx"
CARD = "model.md"
OPSET = 18  # what torch's exporter writes natively


def run(export: ExportSection, evaluate: EvaluateSection) -> None:
    """Write the bundle again, as ONNX, and with a card that says what it is.

    What is exported is what is measured: ``evaluate`` says how the network is heard.
    """
    bundle = bundles.load(MODELS).heard(evaluate.vote, evaluate.tta)
    shutil.rmtree(EXPORT, ignore_errors=True)  # a file of an earlier export may be off now
    EXPORT.mkdir(parents=True)
    for name in (bundles.WEIGHTS, bundles.FACTS):
        shutil.copyfile(MODELS / name, EXPORT / name)
    if export.onnx:
        to_onnx(bundle.network, EXPORT / ONNX, bundle.temperature)
    measures = json.loads(METRICS.read_text(encoding="utf-8")) if METRICS.is_file() else None
    others = beside.rows(METRICS.parent) if measures else []
    text = card(bundle, measures, evaluate, others, onnx=export.onnx)
    (EXPORT / CARD).write_text(text, encoding="utf-8")
    written = ", ".join(sorted(path.name for path in EXPORT.iterdir()))
    say(f"Wrote {EXPORT}: {written}.")


class Tempered(torch.nn.Module):
    """A network whose logits are divided by its temperature already."""

    def __init__(self, network: Network, temperature: float) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits (N, K) whose softmax are the probabilities that ``predict`` works with."""
        logits: torch.Tensor = self.network(pixels) / self.temperature
        return logits


def to_onnx(network: Network, path: Path, temperature: float = 1.0) -> None:
    """Write an ONNX file: ``pixels`` (N, C, H, W) float32 raw values -> ``logits`` (N, K).

    The logits are divided by the temperature, so that their softmax can be believed.
    Of a network that reconstructs the output is ``reconstruction`` (N, C, H, W), normalized.
    """
    size = network.tile_size
    # Two tiles: the exporter takes a dimension of 1 for a constant.
    sample = torch.zeros(2, len(network.bands), size, size)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # The exporter warns of its own internals, not of anything in the network.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval() if temperature == 1 else Tempered(network, temperature).eval(),
            (sample,),
            input_names=["pixels"],
            output_names=[output_of(network)],
            dynamic_shapes=({0: torch.export.Dim("tiles")},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None, "the exporter gives None only for its old path"
    program.save(str(path))
    _forget_where(path)


def output_of(network: Network) -> str:
    """Name of the output in the ONNX file."""
    return "logits" if network.task == "classify" else "reconstruction"


def _forget_where(path: Path) -> None:
    """Take out the stack traces of the export: paths of this machine, other bytes on another."""
    import onnx

    model = onnx.load(path)
    graph = model.graph
    for part in (
        model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output,
        *graph.initializer,
    ):  # fmt: skip
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.save(model, path)


def card(
    bundle: Bundle,
    measures: dict[str, Any] | None,
    evaluate: EvaluateSection,
    others: Sequence[Baseline] = (),
    *,
    onnx: bool,
) -> str:
    """The model card, in Markdown."""
    size = bundle.tile_size
    shape = f"({len(bundle.bands)}, {size}, {size})"
    parameters = sum(parameter.numel() for parameter in bundle.network.parameters())
    lines = [
        f"# {bundle.name}",
        "",
        f"{_purpose(bundle)} {parameters:,} parameters, weights `{bundle.digest[:12]}`.",
        "",
        f"- Bands, in this order: {', '.join(bundle.bands)}",
        f"- Input: raw pixel values as float32, (N, C, H, W) = N x {shape}; the first layer "
        "normalizes them",
        *_outputs(bundle),
        *_heard(bundle, evaluate),
        f"- Trained on the tiles with the digest `{bundle.data_digest[:12]}`",
        f"- Written with {', '.join(f'{k} {v}' for k, v in bundle.versions.items())}",
        "",
        *_members(bundle),
        *_measured(measures),
        *_beside(others),
        "## Files",
        "",
        f"- `{bundles.WEIGHTS}`, `{bundles.FACTS}`: the bundle, for `pipeline.bundle.load`",
    ]
    if onnx:
        output = output_of(bundle.network)
        lines.append(f"- `{ONNX}`: input `pixels`, output `{output}`, any number of tiles")
    return "\n".join(lines) + "\n"


def _purpose(bundle: Bundle) -> str:
    size = f"{bundle.tile_size} x {bundle.tile_size} pixels"
    if bundle.reconstructs:
        return f"Draws a tile of {size} again, from what its narrowest layer keeps."
    return f"Tells the land cover of a tile of {size}."


def _outputs(bundle: Bundle) -> list[str]:
    if not bundle.reconstructs:
        fitted = f"{bundle.temperature:g}, fitted to the validation tiles, already"
        warmth = (
            "" if bundle.temperature == 1 else f". They are divided by the temperature {fitted}"
        )
        return [
            f"- Classes, in the order of the outputs: {', '.join(bundle.classes)}",
            f"- Output: logits (N, classes); their softmax gives probabilities{warmth}, "
            "as those that `predict` works with",
        ]
    mean, deviation = (part.flatten().tolist() for part in bundle.network.band_statistics)
    scales = ", ".join(
        f"{band} {b:.6g} and {a:.6g}"
        for band, a, b in zip(bundle.bands, mean, deviation, strict=True)
    )
    return [
        "- Output: normalized pixels, of the shape of the input; times the band's deviation, plus "
        f"its mean, they are raw values: {scales}"
    ]


def _heard(bundle: Bundle, evaluate: EvaluateSection) -> list[str]:
    """How answers come about, where that is more than one look of one network."""
    views = view_count(evaluate.tta)
    lines = []
    if views > 1:
        lines.append(
            f"- Each tile is looked at in {views} ways (`evaluate.tta={evaluate.tta}`), and their "
            f"mean probability counts; the ONNX file does so by itself"
        )
    if bundle.members:
        lines.append(
            f"- {len(bundle.members)} members answer by a {evaluate.vote} vote "
            f"(`evaluate.vote={evaluate.vote}`); the ONNX file holds them all, and the vote"
        )
    return lines


def _members(bundle: Bundle) -> list[str]:
    if not bundle.members:
        return []
    lines = ["## Members", "", "| member | model | seed | validation accuracy |"]
    lines.append("| ---: | --- | ---: | ---: |")
    for i, one in enumerate(bundle.members):
        lines.append(f"| {i} | {one.model} | {one.seed} | {one.accuracy:.4f} |")
    return [*lines, ""]


def _measured(measures: dict[str, Any] | None) -> list[str]:
    if measures is None:
        return ["## Measures", "", "Not measured yet.", ""]
    if "per_band" in measures:
        return _reconstructed(measures)
    ends = measures["accuracy_ci95"]
    reach = f" (95 % interval {ends[0]:.4f} to {ends[1]:.4f})" if ends else ""
    lines = [
        "## Measures",
        "",
        f"On {measures['n']:,} tiles: accuracy {measures['accuracy']:.4f}{reach}, "
        f"balanced accuracy {measures['balanced_accuracy']:.4f}, "
        f"macro F1 {measures['macro_f1']:.4f}.",
        "",
        "| class | recall | precision | F1 | tiles |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, row in measures["per_class"].items():
        cells = [_number(row[key]) for key in ("recall", "precision", "f1")]
        lines.append(f"| {name} | {' | '.join(cells)} | {row['support']:,} |")
    return [*lines, ""]


def _beside(others: Sequence[Baseline]) -> list[str]:
    """What methods without a network reach on the same tiles."""
    if not others:
        return []
    lines = [
        f"Beside methods without a network, on the same tiles: {beside.best(others).verdict}",
        "",
        "| method | accuracy | macro F1 | the network's lead, points |",
        "| --- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row.name} | {row.accuracy:.4f} | {row.macro_f1:.4f} | {row.lead} |" for row in others
    ]
    return [*lines, ""]


def _reconstructed(measures: dict[str, Any]) -> list[str]:
    keys = ("mse", "rmse", "r2", "psnr")
    lines = [
        "## Measures",
        "",
        f"On {measures['n']:,} tiles: mean squared error {_number(measures['mse'])} of normalized "
        f"pixels, share of variance drawn again {_number(measures['r2'])}, peak signal-to-noise "
        f"ratio {_number(measures['psnr'])} dB.",
        "",
        "| band | mse | rmse, raw | r2 | psnr, dB |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, row in measures["per_band"].items():
        lines.append(f"| {name} | {' | '.join(_number(row[key]) for key in keys)} |")
    return [*lines, ""]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
