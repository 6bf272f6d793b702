"""Stands for timm, which can't be imported everywhere: two models that are built as timm's are."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

FETCHED = 0.25  # every weight of the first layer, as if it had been fetched


class Block(nn.Module):
    """Two convolutions and a shortcut, wired in code."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Body(x) + x."""
        out: Tensor = x + self.act1(self.bn1(self.conv1(x)))
        return out


class TinyNet(nn.Module):
    """A 7 x 7 convolution, a block, a linear layer: named and described as timm does it."""

    def __init__(self, in_chans: int, num_classes: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(2)
        self.layer1 = nn.Sequential(Block(width))
        self.fc = nn.Linear(width, num_classes) if num_classes else nn.Identity()
        self.pretrained_cfg = {"first_conv": "conv1", "classifier": "fc"}

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, K), or (N, width)."""
        maps = self.layer1(self.maxpool(self.act1(self.bn1(self.conv1(x)))))
        out: Tensor = self.fc(maps.mean(dim=(2, 3)))
        return out


class FakeTimm(ModuleType):
    """What of timm is used, and a record of what was asked of it."""

    def __init__(self) -> None:
        super().__init__("timm")
        self.asked: list[Mapping[str, Any]] = []

    def list_models(self) -> list[str]:
        """Names without those of weights."""
        return ["tinynet", "widenet"]

    def create_model(
        self, model_name: str, pretrained: bool, in_chans: int, num_classes: int
    ) -> nn.Module:
        """A model; one that is pretrained begins with weights of its own."""
        self.asked.append({"name": model_name, "pretrained": pretrained})
        model = TinyNet(in_chans, num_classes, 64 if model_name.startswith("wide") else 8)
        if pretrained:
            with torch.no_grad():
                model.conv1.weight.fill_(FETCHED)
        return model
