"""The network as plain PyTorch: one readable file that runs without this project.

A class for each composite says in its ``forward`` how its layers are wired. Layers that torch lacks
come along as their own source, cut down to what runs. Names of layers are kept, so that the weights
of a bundle load into the file's network.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from pipeline.analysis import blank, run_through
from pipeline.composites import Chain, Composite, Dense, Parallel, Residual
from pipeline.network import Network
from pipeline.pretrained import origin
from pipeline.receptive import Passed
from pipeline.source import Source
from pipeline.spec import Spec, head_of
from pipeline.wording import NORMS

WIDTH = 100  # characters of a line
TAKEN = {"x", "y", "shortcut", "self", "torch", "nn", "Tensor"}  # in a forward
QUOTES = str.maketrans({'"': "'", "\\": "/"})

HEADER = '''"""{title}

Raw pixel values come in, (N, {channels}, {size}, {size}), in the order of BANDS; {result}.
A comment gives the shape that a line leads to.

Needs torch alone. Weights that were trained, from the folder models/:

    from safetensors.torch import load_file
    network.load_state_dict(load_file("model.safetensors"))
"""

from __future__ import annotations
'''
RESULTS = {
    "classify": "logits go out,\n(N, {classes}), in the order of CLASSES",
    "reconstruct": "the same tiles\ngo out, normalized band by band",
}
FOOTER = """if __name__ == "__main__":
    network = Network().eval()
    with torch.no_grad():
        outputs = network(torch.zeros(1, len(BANDS), TILE_SIZE, TILE_SIZE))
    print(tuple(outputs.shape))
"""


def source_of(network: Network, name: str) -> str:
    """The file's text; the same network gives the same text."""
    own = Source()
    for _, module in network.named_modules():
        if origin(module):
            own.use("timm")
        if type(module).__module__.startswith("pipeline.") and not isinstance(module, Composite):
            own.add(type(module))
    constants = [
        f"BANDS = {_literal(network.bands.names)}",
        f"CLASSES = {_literal(network.classes.names)}",
        f"TILE_SIZE = {network.tile_size}  # pixels a side",
        *own.constants,
    ]
    head = "\n".join([_header(network, name), *own.imports, "", *constants])
    classes = Writer(network, own.names).composite(network, "", "Network")
    return "\n\n\n".join([head, *own.classes, *classes, FOOTER])


def _header(network: Network, name: str) -> str:
    kind = "convolutional network" if _convolves(network) else "network"
    return HEADER.format(
        # A name is free text; inside these quotes it must not end them.
        title=f"{' '.join(name.split())}: a {kind} in plain PyTorch.".translate(QUOTES),
        size=network.tile_size,
        channels=len(network.bands),
        result=RESULTS[network.task].format(classes=len(network.classes)),
    )


def _convolves(network: Network) -> bool:
    return any(isinstance(module, nn.Conv2d) for module in network.modules())


class Writer:
    """Writes the classes of a network's composites, those inside before those around."""

    def __init__(self, network: Network, taken: Iterable[str]) -> None:
        self.network = network
        self.shapes = run_through(network, blank(network))
        kinds = {type(module).__name__ for module in network.modules()}
        self.names = {"Network", "Tensor", *taken, *kinds}

    def composite(self, module: Composite, path: str, name: str) -> list[str]:
        """Source of a composite's class, after those of the composites inside it."""
        before: list[str] = []
        lines = ["def __init__(self) -> None:", "    super().__init__()"]
        for key, layer in module.named_children():
            inner = f"{path}.{key}" if path else key
            if isinstance(layer, Composite):
                own = self._class_name(inner)
                before += self.composite(layer, inner, own)
                lines.append(f"    self.{key} = {own}()")
            else:
                lines += _indented(self._call(key, layer, inner))
        passed = self._passed(module)
        lines += ["", f"def forward(self, x: Tensor) -> Tensor:  # {_shape(passed.input)}"]
        lines += _indented("\n".join(self._forward(module)))
        doc = '"""Raw pixels to outputs."""' if not path else f'"""{_doc(module, path)}"""'
        body = "\n".join(_indented("\n".join([doc, "", *lines])))
        return [*before, f"class {name}(nn.Module):\n{body}"]

    def _passed(self, module: nn.Module) -> Passed:
        if module is self.network:
            return Passed(self.network.input_shape, self._end(module))
        return self.shapes[module]

    def _end(self, module: nn.Module) -> tuple[int, ...]:
        return self.shapes[list(module.children())[-1]].output

    def _class_name(self, path: str) -> str:
        name = "".join(_capital(word) for part in path.split(".") for word in part.split("_"))
        while name in self.names or not name.isidentifier():
            name = f"Block{name}"
        self.names.add(name)
        return name

    def _call(self, key: str, layer: nn.Module, path: str) -> str:
        """The line that makes a layer, broken if it is long."""
        if origin(layer):
            return f"self.{key} = {self._backbone(path)}"
        torch = type(layer).__module__.startswith("torch.")
        given = [f"{name}={value}" for name, value in self._arguments(layer, path)]
        start = f"self.{key} = {'nn.' * torch}{type(layer).__name__}("
        line = f"{start}{', '.join(given)})"
        if len(line) + 8 <= WIDTH:
            return line
        lines = [""]
        for argument in given:
            if lines[-1] and len(f"{lines[-1]} {argument},") + 12 > WIDTH:
                lines.append("")
            lines[-1] = f"{lines[-1]} {argument},".lstrip()
        return "\n".join([start, *(f"    {line}" for line in lines), ")"])

    def _backbone(self, path: str) -> str:
        """The call that makes a model of timm, which the file then needs as well."""
        said = _said(self.network.spec, path)
        outputs = len(self.network.classes) if path == head_of(self.network.spec)[0] else 0
        given = {
            "pretrained": False,  # the weights of a bundle take its place
            "in_chans": said.get("in_channels", len(self.network.bands)),
            "num_classes": said.get("num_classes", outputs),
        }
        told = ", ".join(f"{name}={_literal(value)}" for name, value in given.items())
        return f"timm.create_model({_literal(said['name'])}, {told})"

    def _arguments(self, layer: nn.Module, path: str) -> Iterator[tuple[str, str]]:
        """Each argument of a layer with its value as source.

        What the configuration says comes first, then what the layer itself has, then the default.
        """
        said = _said(self.network.spec, path)
        constants = {"bands": "BANDS", "tile_size": "TILE_SIZE"}
        for name, parameter in inspect.signature(type(layer)).parameters.items():
            if name in ("device", "dtype") or (_is_new(name, layer) and name not in said):
                continue
            if name in constants and name not in said:
                yield name, constants[name]
                continue
            value = said[name] if name in said else _own(layer, name, parameter.default)
            # A function as a default, say of an activation, has no literal; it stays the default.
            if value is None or isinstance(value, str | int | float | tuple | list | dict):
                yield name, _literal(value)

    def _forward(self, module: Composite) -> list[str]:
        """Lines that wire the layers of a composite."""
        kinds: Mapping[type[Composite], Any] = {
            Parallel: self._parallel,
            Residual: self._residual,
            Dense: self._dense,
            Chain: self._chain,
        }
        write = next(write for kind, write in kinds.items() if isinstance(module, kind))
        lines: list[str] = write(module)
        return lines

    def _step(self, variable: str, key: str, layer: nn.Module, given: str = "x") -> str:
        return f"{variable} = self.{key}({given})  # {_shape(self.shapes[layer].output)}"

    def _chain(self, module: nn.Module) -> list[str]:
        steps = [self._step("x", key, layer) for key, layer in module.named_children()]
        return [*steps, "return x"]

    def _residual(self, module: nn.Module) -> list[str]:
        lines, body, shortcut = [], "x", "x"
        for key, layer in module.named_children():
            if key == "projection":
                lines.append(self._step("shortcut", key, layer))
                shortcut = "shortcut"
            else:
                lines.append(self._step("y", key, layer, body))
                body = "y"
        return [*lines, f"return {body} + {shortcut}  # {_shape(self.shapes[module].output)}"]

    def _parallel(self, module: Parallel) -> list[str]:
        variables = _variables([key for key, _ in module.named_children()])
        lines = [
            self._step(variable, key, layer)
            for variable, (key, layer) in zip(variables, module.named_children(), strict=True)
        ]
        joined = (
            f"torch.cat([{', '.join(variables)}], dim=1)"
            if module.join == "concat"
            else " + ".join(variables)
        )
        return [*lines, f"return {joined}  # {_shape(self.shapes[module].output)}"]

    def _dense(self, module: nn.Module) -> list[str]:
        lines = []
        channels, *rest = self.shapes[module].input
        for key, layer in module.named_children():
            channels += self.shapes[layer].output[0]
            shape = _shape((channels, *rest))
            lines.append(f"x = torch.cat([x, self.{key}(x)], dim=1)  # {shape}")
        return [*lines, "return x"]


def _variables(keys: Sequence[str]) -> list[str]:
    """A variable for each branch, by its name; none that the forward or another branch takes."""
    free = {key: key for key in keys}
    for key in keys:
        while free[key] in TAKEN or list(free.values()).count(free[key]) > 1:
            free[key] += "_"
    return list(free.values())


def _doc(module: Composite, path: str) -> str:
    if isinstance(module, Parallel):
        how = "concatenated by channel" if module.join == "concat" else "added"
        return f"{path}: branches that all see the input, {how}."
    if isinstance(module, Residual):
        return f"{path}: layers one after the other, and their input added to what they give."
    if isinstance(module, Dense):
        return f"{path}: each layer sees the input and what all layers before it gave."
    return f"{path}: layers one after the other."


def _said(spec: Spec, path: str) -> dict[str, Any]:
    """What the configuration says about a layer; nothing about one that a composite made."""
    found: Any = spec
    for key in path.split("."):
        found = found.get(key, {}) if isinstance(found, Mapping) else {}
    return dict(found) if isinstance(found, Mapping) else {}


def _own(layer: nn.Module, name: str, default: Any) -> Any:
    """An argument as the layer keeps it."""
    value = getattr(layer, name, default)
    if name == "bias" and not isinstance(value, bool):
        return value is not None
    if isinstance(value, Tensor):
        return default
    sides = isinstance(value, tuple) and hasattr(layer, "kernel_size") and len(set(value)) == 1
    return value[0] if sides else value


def _is_new(name: str, layer: nn.Module) -> bool:
    """Whether an argument is unknown to older versions of torch; it follows from affine."""
    return name == "bias" and isinstance(layer, NORMS) and not isinstance(layer, nn.LayerNorm)


def _literal(value: Any) -> str:
    """A value as source; lists as tuples, which is what layers get when a network is built."""
    if isinstance(value, tuple | list):
        inside = ", ".join(_literal(item) for item in value)
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_literal(k)}: {_literal(v)}' for k, v in value.items())}}}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(['N', *map(str, shape)])})"


def _indented(text: str) -> list[str]:
    return [f"    {line}" if line else "" for line in text.split("\n")]
