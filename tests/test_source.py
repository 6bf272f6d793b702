from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from pipeline.source import Source

SCALE = 2.0
FACTORS = (SCALE, math.pi)


def twice(x: Tensor) -> Tensor:
    return x * FACTORS[0]


class Base(nn.Module):
    def start(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values)

    def idle(self) -> None:
        raise NotImplementedError("unused")


class Own(Base):
    """A layer with all that a file of its own needs."""

    def __init__(self) -> None:
        super().__init__()
        self.extra = self._extra()

    @staticmethod
    def _extra() -> float:
        return math.e

    def unused(self) -> None:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(twice(x)) + self.start([self.extra])

    @property
    def also_unused(self) -> float:
        return self.extra


def test_a_class_comes_with_all_that_it_needs() -> None:
    source = Source()
    source.add(Own)
    source.add(Own)
    text = "\n\n".join(
        ["from __future__ import annotations", *source.imports, *source.constants, *source.classes]
    )
    namespace: dict[str, Any] = {"__name__": "alone"}
    exec(compile(text, "alone.py", "exec"), namespace)
    x = torch.tensor([-1.0, 3.0])
    assert torch.equal(namespace["Own"]()(x), Own()(x))
    assert text.count("class Own") == 1
    assert "unused" not in text
    assert "tests" not in text
    assert source.imports[0] == "from collections.abc import Sequence"
    assert source.constants == ["SCALE = 2.0", "FACTORS = (SCALE, math.pi)"]


def test_imports_are_torch_alone_where_nothing_else_is_needed() -> None:
    assert Source().imports == ["import torch", "from torch import Tensor, nn"]
