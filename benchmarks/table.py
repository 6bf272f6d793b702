"""What the commands that measure share: the machine in words, and tables inside a text."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

import psutil
import torch

ROOT = Path(__file__).resolve().parent.parent


def machine() -> str:
    """Processor, cores, memory, graphics processor and versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    parts = [
        model or platform.processor(),
        f"{os.cpu_count()} cores",
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
    ]
    parts += [torch.cuda.get_device_name()] if torch.cuda.is_available() else ["no GPU"]
    parts += [platform.system(), f"Python {platform.python_version()}"]
    parts += [f"{name} {version(name)}" for name in ("torch", "pytorch-lightning", "rasterio")]
    return ", ".join(parts)


def filled(text: str, mark: str, content: str) -> str:
    """The text with the content between ``<!-- mark -->`` and the end mark of its first word."""
    start, end = f"<!-- {mark} -->", f"<!-- end of {mark.split(':')[0]} -->"
    return re.sub(
        f"{re.escape(start)}.*?{re.escape(end)}",
        lambda _: f"{start}\n{content}\n{end}",
        text,
        flags=re.S,
    )
