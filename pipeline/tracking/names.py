"""What a run is called and which parameters it carries: short, and only what people compare."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import naming

# Whole sections, or single keys of one. Layers and paths are in the run's params.yaml.
COMPARED = (
    "model.name", "tiles.size", "source.kind", "split.method", "init", "augment", "optimizer",
    "schedule", "loss", "train",
)  # fmt: skip
NOT_COMPARED = ("train.donor", "train.member_networks")  # follow from other keys
NAME_LENGTH = 40  # characters that the run column of the UI shows
DIGEST_LENGTH = 8  # as MLflow's own; it refuses more than 36, and the tag has all


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a run was trained on, as MLflow shows it."""

    name: str
    digest: str
    counts: Mapping[str, Mapping[str, int]]  # split -> class -> tiles
    bands: Sequence[str]
    tile_size: int  # pixels a side
    dtype: str = "uint8"
    source: str = ""  # the imagery: a file or a folder

    @property
    def schema(self) -> str:
        """MLflow's notation of tensors, which its UI shows as a table; -1 is any number."""
        shape = [-1, self.tile_size, self.tile_size, len(self.bands)]
        pixels = {"type": "tensor", "tensor-spec": {"dtype": self.dtype, "shape": shape}}
        return json.dumps({"mlflow_tensorspec": {"features": json.dumps([pixels])}})

    @property
    def profile(self) -> str:
        """Bands, and tiles by split and class."""
        tiles = {split: sum(classes.values()) for split, classes in self.counts.items()}
        return json.dumps({"bands": [*self.bands], "tiles": tiles, "classes": self.counts})


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and their values, in order; nulls are left out.

    A mapping whose keys are free, such as names or globs of layers, is a value: MLflow refuses
    ``*`` in a key.
    """
    for key, value in values.items():
        if isinstance(value, Mapping) and all(str(inner).isidentifier() for inner in value):
            yield from flatten(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}", value


def compared(params: Mapping[str, Any]) -> dict[str, str]:
    """The parameters of a run, under the keys that ``-S`` takes and as it takes them.

    Of several networks that vote the name tells all, and ``train.members`` how many there are.
    """
    told = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in flatten(params)
        if _among(key, COMPARED) and not _among(key, NOT_COMPARED)
    }
    models = naming.models(params)
    real = {"model.name": naming.together(models), "train.members": str(len(models))}
    return told | {key: value for key, value in real.items() if key in told}


def _among(key: str, wanted: Sequence[str]) -> bool:
    """Whether a key is one of these, or of a section that is."""
    return any(key == one or key.startswith(f"{one}.") for one in wanted)


def run_name(params: Mapping[str, Any], overrides: Sequence[str]) -> str:
    """The network's name and what differs from the defaults, as in ``lecture lr=0.01``."""
    models = naming.models(params, "run")
    name, said = naming.together(models), {"members", "member_models"}
    said |= {name, f"name={name}"} if len(models) == 1 else {models[0], f"name={models[0]}"}
    words = [w for w in map(_word, overrides) if not {w, w.partition("=")[0]} & said]
    shown: list[str] = []
    for word in words:
        if len(" ".join([name, *shown, word])) > NAME_LENGTH:
            break
        shown.append(word)
    rest = len(words) - len(shown)
    return " ".join([name, *shown, *([f"+{rest}"] if rest else [])])


def _word(override: str) -> str:
    """``lr=0.01`` of ``optimizer.lr=0.01``, ``vgg`` of ``model=vgg``, ``-drop`` of ``~a.drop``."""
    key, _, value = override.lstrip("+").partition("=")
    if key.startswith("~"):
        return "-" + key.removeprefix("~").rpartition(".")[2]
    section, _, leaf = key.rpartition(".")
    return f"{leaf}={value}" if section else value
