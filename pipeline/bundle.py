"""The bundle: a trained network with everything that it takes to use it.

``models/model.safetensors`` holds weights and buffers, ``models/model.json`` the rest. Neither is
a pickle, and loading them runs no code but the layers of ``pipeline.targets``.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import naming
from pipeline.ensemble import Ensemble, Member, heard, member_of, passes
from pipeline.errors import BundleError, PipelineError
from pipeline.ground import Ground
from pipeline.network import Network, build
from pipeline.spec import offline
from pipeline.types import Bands, Classes
from pipeline.voting import Views, Vote

WEIGHTS = "model.safetensors"
FACTS = "model.json"
FORMATS = {1: "layers", 2: "members"}  # one network, an ensemble: what says how it is built


@dataclass(frozen=True)
class Bundle:
    """A trained network in evaluation mode, and what it was trained for and with."""

    network: Network
    data_digest: str
    params: dict[str, Any]  # sections of params.yaml that it was trained with
    versions: dict[str, str]
    digest: str  # sha256 of the weights' file; the tag model_digest of its MLflow run
    temperature: float = 1.0  # that logits are divided by, so that probabilities can be believed
    # How the pixels that it was trained on are spread, as shift.Look tells it; of an old one: {}.
    look: dict[str, Any] = field(default_factory=dict)
    tiles: str = ""  # by which its training tiles are known again, see duplicates.kept
    ground: Ground = field(default_factory=dict)  # that they lie on, see ground.kept

    @property
    def bands(self) -> Bands:
        """Bands that a tile must have, in this order."""
        return self.network.bands

    @property
    def classes(self) -> Classes:
        """Classes, in the order of the outputs."""
        return self.network.classes

    @property
    def tile_size(self) -> int:
        """Side of a tile in pixels."""
        return self.network.tile_size

    @property
    def reconstructs(self) -> bool:
        """Whether it gives its tile again, as an autoencoder does, and tells no classes."""
        return self.network.task == "reconstruct"

    @property
    def name(self) -> str:
        """What a person calls it."""
        known = [member.model for member in self.members]
        return naming.together(known or naming.models(self.params))

    @property
    def layers(self) -> dict[str, dict[str, Any]]:
        """The mapping of layers; of an ensemble, one a member."""
        return self.network.spec

    @property
    def members(self) -> tuple[Member, ...]:
        """What is known of the members of an ensemble; none of a single network."""
        return self.network.facts if isinstance(self.network, Ensemble) else ()

    def member(self, index: int) -> Bundle:
        """The same with a member of the ensemble as a network by itself, of its own temperature."""
        if not self.members:
            return self
        own = self.members[index % len(self.members)].temperature
        return replace(self, network=member_of(self.network, index), temperature=own)

    def heard(self, vote: Vote, views: Views) -> Bundle:
        """The same, answering by another vote, and to a tile that is laid in several ways.

        The shares of a hard vote are no probabilities that a temperature was fitted to.
        """
        fitted = vote != "hard" or not self.members
        temperature = self.temperature if fitted else 1.0
        return replace(self, network=heard(self.network, vote, views), temperature=temperature)

    def probabilities(
        self, pixels: NDArray[Any], *, batch_size: int, device: torch.device | None = None
    ) -> NDArray[np.float32]:
        """Softmax of the logits over the temperature, in float32 throughout.

        Args:
            pixels: (N, H, W, C) raw values of any number type.
            batch_size: Tiles on the device at once, all views of them counted; does not change
                the result.
            device: Where to compute; the first GPU, or the CPU where there is none.

        Returns:
            (N, K), rows summing to 1.

        Raises:
            BundleError: The tiles are not of the size and the bands of the network.
        """
        if self.reconstructs:
            raise BundleError(
                "Expected a network that tells classes, got one that reconstructs its tile. Train "
                "a classifier; model=encoder takes over what an autoencoder learned."
            )
        parts = [np.zeros((0, len(self.classes)), np.float32)]
        for logits in self._outputs(pixels, batch_size, device):
            parts.append((logits / self.temperature).softmax(dim=1).cpu().numpy())
        return np.concatenate(parts)

    def reconstructions(
        self, pixels: NDArray[Any], *, batch_size: int, device: torch.device | None = None
    ) -> NDArray[np.float32]:
        """What a network that reconstructs makes of tiles: (N, H, W, C), in their own units.

        Arguments and errors as those of ``probabilities``.
        """
        if not self.reconstructs:
            raise BundleError("Expected a network that reconstructs its tile, got a classifier.")
        parts = [np.zeros((0, *pixels.shape[1:]), np.float32)]
        for outputs in self._outputs(pixels, batch_size, device):
            mean, deviation = self.network.band_statistics
            raw = outputs * deviation + mean
            parts.append(raw.permute(0, 2, 3, 1).cpu().numpy())
        return np.concatenate(parts)

    def _outputs(
        self, pixels: NDArray[Any], batch_size: int, device: torch.device | None
    ) -> Iterator[Tensor]:
        """Outputs of the network, a batch at a time."""
        expected = (self.tile_size, self.tile_size, len(self.bands))
        if pixels.ndim != 4 or pixels.shape[1:] != expected:
            raise BundleError(
                f"Expected tiles of shape (N, {', '.join(map(str, expected))}), as the network was "
                f"trained for, got {pixels.shape}."
            )
        device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network.to(device)
        step = max(1, batch_size // passes(self.network))
        for start in range(0, len(pixels), step):
            # A read-only map of a file is copied: torch has no read-only tensors.
            batch = np.require(pixels[start : start + step], requirements=["C", "W"])
            with torch.inference_mode():
                yield self.network(as_input(torch.from_numpy(batch).to(device)))


def as_input(pixels: Tensor) -> Tensor:
    """(N, H, W, C) of any number type -> (N, C, H, W) float32.

    The memory order stays channel last, which is what torch calls ``channels_last``: no copy
    beside the conversion.
    """
    return pixels.to(torch.float32).permute(0, 3, 1, 2)


def save(
    network: Network,
    *,
    data_digest: str,
    params: dict[str, Any],
    look: dict[str, Any] | None = None,
    tiles: str = "",
    ground: Ground | None = None,
    root: Path = Path("models"),
) -> Bundle:
    """Write a bundle; the same network and parameters give the same bytes."""
    from safetensors.torch import save as serialize

    state = {key: value.detach().cpu() for key, value in network.state_dict().items()}
    weights = serialize({key: value.contiguous() for key, value in state.items()})
    digest = hashlib.sha256(weights).hexdigest()
    facts = {
        "format": 2 if isinstance(network, Ensemble) else 1,
        "bands": list(network.bands),
        "classes": list(network.classes),
        "tile_size": network.tile_size,
        "task": network.task,
        **_how_it_is_built(network),
        "temperature": 1.0,
        "data_digest": data_digest,
        "parameters": params,
        "versions": _versions(),
        "digest": digest,
        "look": look or {},
        "tiles": tiles,
        "ground": dict(ground or {}),
    }
    root.mkdir(parents=True, exist_ok=True)
    _write(root / WEIGHTS, weights)
    _write_facts(root, facts)
    return load(root)


def tempered(root: Path, temperature: float, of_members: Sequence[float] = ()) -> Bundle:
    """Write down temperatures of a bundle; its weights, and so its digest, stay.

    Members for which none is given keep theirs.
    """
    facts = _facts(root / FACTS) | {"temperature": temperature}
    for member, own in zip(facts.get("members", ()), of_members, strict=False):
        member["temperature"] = own
    _write_facts(root, facts)
    return load(root)


def _write_facts(root: Path, facts: dict[str, Any]) -> None:
    _write(root / FACTS, (json.dumps(facts, indent=2) + "\n").encode())


def _how_it_is_built(network: Network) -> dict[str, Any]:
    if not isinstance(network, Ensemble):
        return {"layers": offline(network.spec)}
    both = zip(network.facts, network.networks, strict=True)
    return {"members": [{**asdict(fact), "layers": offline(one.spec)} for fact, one in both]}


def load(root: Path = Path("models")) -> Bundle:
    """Open a bundle and check that its two files are whole and belong together.

    Raises:
        BundleError: A file is missing or torn, or the layers don't fit the weights.
    """
    facts = _facts(root / FACTS)
    weights = _read(root / WEIGHTS)
    digest = hashlib.sha256(weights).hexdigest()
    if digest != facts["digest"]:
        raise BundleError(
            f"Expected {root / WEIGHTS} with the digest {facts['digest'][:12]} that {FACTS} names, "
            f"got {digest[:12]}: one of the files is torn or of another model. Train again."
        )
    return Bundle(
        network=_network(facts, weights, root),
        data_digest=facts["data_digest"],
        params=facts["parameters"],
        versions=facts["versions"],
        digest=digest,
        temperature=_temperature(facts, root),
        look=facts.get("look", {}),
        tiles=facts.get("tiles", ""),
        ground=facts.get("ground", {}),
    )


def _temperature(facts: dict[str, Any], root: Path) -> float:
    """1 in bundles that were written before there were temperatures."""
    value = facts.get("temperature", 1.0)
    if not isinstance(value, int | float) or not 0 < value < math.inf:
        raise BundleError(
            f"Expected a temperature above 0 in {root / FACTS}, got {value!r}. Train again."
        )
    return float(value)


def _network(facts: dict[str, Any], weights: bytes, root: Path) -> Network:
    from safetensors.torch import load as deserialize

    try:
        network = _built(facts)
        network.load_state_dict(deserialize(weights))
    except (PipelineError, RuntimeError, TypeError, AttributeError, LookupError) as error:
        reason = " ".join(str(error).split())
        raise BundleError(f"{root / FACTS} does not describe {WEIGHTS}: {reason}") from error
    return network.eval()


def _built(facts: dict[str, Any]) -> Network:
    """A network of these facts, or an ensemble, with weights as they were drawn."""
    if "members" not in facts:
        return build(
            offline(facts["layers"]),
            bands=Bands(tuple(facts["bands"])),
            classes=Classes(tuple(facts["classes"])),
            tile_size=facts["tile_size"],
            task=facts["task"],
        )
    shared = {key: facts[key] for key in ("bands", "classes", "tile_size", "task")}
    networks = [_built({**shared, "layers": member["layers"]}) for member in facts["members"]]
    known = [
        Member(one["model"], one["seed"], one["accuracy"], one.get("temperature", 1.0))
        for one in facts["members"]
    ]
    return Ensemble(networks, known)


def _facts(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(_read(path))
    except ValueError as error:
        raise BundleError(f"Expected JSON in {path}, got: {error}. Train again.") from error
    keys = (
        "bands", "classes", "tile_size", "task", "data_digest", "parameters", "versions", "digest",
    )  # fmt: skip
    if not isinstance(facts, dict) or facts.get("format") not in FORMATS:
        known = " or ".join(map(str, FORMATS))
        raise BundleError(f"Expected a bundle of format {known} in {path}. Train again.")
    if missing := [key for key in (FORMATS[facts["format"]], *keys) if key not in facts]:
        raise BundleError(f"Expected the key {missing[0]!r} in {path}, got none. Train again.")
    return facts


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"Expected a trained network in {path}: {error.strerror}. Train first."
        ) from (error)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(content)
    temporary.replace(path)


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("torch", "pytorch-lightning", "numpy", "safetensors")
    return {name: version(name) for name in names}
