"""Lets ``dvc exp run -S`` compose with the same checks as ``python -m pipeline compose``.

DVC puts this folder's parent on the path (``hydra.plugins_path`` in .dvc/config) and Hydra imports
what it finds in it, just before the composition. Without it DVC accepts ``optimizer.lr=abc``.
"""

import sys
from functools import wraps
from pathlib import Path
from typing import Any

from dvc.exceptions import InvalidArgumentError
from hydra._internal.config_loader_impl import ConfigLoaderImpl

# The dvc command starts elsewhere; the checks are those of this very checkout.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipeline.config import absent, checked
from pipeline.errors import PipelineError

_load = ConfigLoaderImpl.load_configuration
_checking = False


@wraps(_load)
def _load_checked(self: ConfigLoaderImpl, *args: Any, **kwargs: Any) -> Any:
    global _checking
    if _checking:  # the check composes by itself, to tell which keys there are
        return _load(self, *args, **kwargs)
    _checking = True
    try:
        cfg = checked(lambda: _load(self, *args, **kwargs), kwargs.get("overrides", ()))
        if sentence := absent(cfg):
            raise InvalidArgumentError(sentence)  # DVC would run, and say "Errno 2"
        return cfg
    except PipelineError as error:
        # DVC prints its own exceptions as one line, and any other as a crash.
        raise InvalidArgumentError(str(error)) from None
    finally:
        _checking = False


# Hydra has no public hook that sees a composition fail, so its loader is wrapped.
ConfigLoaderImpl.load_configuration = _load_checked
