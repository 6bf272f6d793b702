"""Composes ``conf/``, checks the result, and says in one sentence what does not fit.

Both doors for overrides come through here: ``python -m pipeline compose`` calls :func:`compose`,
and ``dvc exp run -S`` composes with Hydra itself, whose loader ``conf/hydra_plugins`` wraps in
:func:`checked`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from pipeline.config_messages import (
    CONF,
    composition_sentence,
    flat,
    groups,
    options_of,
    place_of,
    unknown_option,
    validation_sentence,
)
from pipeline.errors import ConfigError
from pipeline.schema import Params

PARAMS = Path("params.yaml")
NEVER_CHANGES = "pipeline/__init__.py"

Loaded = TypeVar("Loaded")


def compose(overrides: Sequence[str] = ()) -> str:
    """Text of ``params.yaml`` for these overrides, to the byte what DVC would write.

    Raises:
        ConfigError: an override or a file in ``conf/`` does not fit.
    """
    return _to_yaml(checked(lambda: _hydra_compose(overrides), overrides))


def _hydra_compose(overrides: Sequence[str]) -> Any:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    _register_resolvers()
    # DVC may be composing right now, and Hydra is one a process: set aside, and put back.
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        # DVC composes with the same version_base.
        with initialize_config_dir(str(CONF), version_base=None):
            return hydra_compose("config", overrides=list(overrides))
    finally:
        GlobalHydra.instance().hydra = outer


def _register_resolvers() -> None:
    """What ``${watched:...}`` and ``${networks:...}`` in ``conf/`` stand for."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("watched", _watched, replace=True)
    OmegaConf.register_new_resolver("networks", _networks, replace=True)


def _watched(path: Any) -> Any:
    """What DVC watches of a donor.

    A dependency of a stage can't be left out, and DVC can't look into an MLflow store, where what
    an address names does not change: then a file stands in that does not change either.
    """
    # What is no text at all is for the schema to refuse.
    address = not isinstance(path, str) or path.startswith(("runs:/", "models:/"))
    return NEVER_CHANGES if address else path


def _networks(names: Any, *, _root_: Any) -> Any:
    """Sections of the models of these names, as they stand in ``conf/model``.

    What they take from elsewhere, as ``${activation}``, is that of the composition at hand. Names
    that are none are left out here; ``checked`` tells of them.
    """
    from omegaconf import OmegaConf, open_dict

    found: dict[str, Any] = {}
    options = options_of("model")
    for name in dict.fromkeys(name for name in _names(names) if name in options):
        whole = _root_.copy()
        with open_dict(whole):
            whole.model = composition((f"model={name}",)).model
        found[name] = OmegaConf.to_container(whole.model, resolve=True)
    return OmegaConf.create(found)  # of a plain mapping OmegaConf would make no node


def _names(given: Any) -> list[str]:
    """The names in a list; what is none is for the schema to refuse."""
    from omegaconf import ListConfig

    names = given if isinstance(given, ListConfig) else ()
    return [name for name in names if isinstance(name, str)]


def _refuse_unknown_members(cfg: Any) -> None:
    for name in _names(cfg.train.member_models):
        if name not in options_of("model"):
            raise ConfigError(unknown_option(name, "model", "train.member_models"))


def _to_yaml(cfg: Any) -> str:
    from omegaconf import OmegaConf

    cfg = cfg.copy()
    OmegaConf.resolve(cfg)
    return OmegaConf.to_yaml(cfg)


def checked(load: Callable[[], Loaded], overrides: Sequence[str]) -> Loaded:
    """What ``load`` composes, once it fits the schema; else a :class:`ConfigError`."""
    _register_resolvers()
    with composing(overrides):
        _refuse_unknown_experiments(overrides)
        cfg = load()
        _refuse_unknown_members(cfg)
        params = validate(_container(cfg, overrides), overrides)
    _check_layers(params)
    return cfg


@contextmanager
def composing(overrides: Sequence[str] = ()) -> Iterator[None]:
    """A while in which what does not compose is told in a sentence.

    Raises:
        ConfigError: It did not.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if not (whole := CONF / "config.yaml").is_file():
        raise ConfigError(
            f"Expected {CONF.name}/{whole.name}, found none. Bring {CONF.name}/ back: git checkout "
            f"{CONF.name}."
        )
    try:
        yield
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(composition_sentence(error, overrides, known_keys)) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"Expected YAML in {CONF.name}/, got {flat(error)}.") from error


def _check_layers(params: Params) -> None:
    """Refuse layers by name; those in params.yaml passed when it was written.

    To know what layers there are takes torch, whose import takes longer than all else here.
    """
    wanted = {"": params.model, **params.train.member_networks}
    passed: list[Any] = []
    with suppress(ConfigError, AttributeError):  # none was written, or it is torn
        written = read(CONF.parent / PARAMS)
        networks = written["train"].get("member_networks") or {}
        passed = [network.get("layers") for network in (written["model"], *networks.values())]
    for name, network in wanted.items():
        if network.layers not in passed:
            _check_network(name, network.layers)


def _check_network(name: str, layers: Mapping[str, Any]) -> None:
    from pipeline.errors import LayerError
    from pipeline.spec import check

    try:
        check(layers)
    except LayerError as error:
        raise LayerError(f"In the member {name}: {error}") if name else error from None


def _refuse_unknown_experiments(overrides: Sequence[str]) -> None:
    # The group is optional, so that there may be none: Hydra takes any name for it.
    options = options_of("experiment")
    for override in overrides:
        group, _, option = override.partition("=")
        if group.lstrip("+") == "experiment" and option not in (*options, "null"):
            raise ConfigError(
                f"Unknown option {option!r} for experiment in the overrides. "
                f"Expected one of {', '.join(options)}."
            )


def _container(cfg: Any, overrides: Sequence[str]) -> dict[str, Any]:
    from omegaconf import OmegaConf, open_dict

    bare = cfg.copy()
    with open_dict(bare):
        bare.pop("hydra", None)
    # Before what stands for a missing value is looked up.
    _refuse_missing(OmegaConf.to_container(bare), overrides)
    return OmegaConf.to_container(bare, resolve=True)  # type: ignore[return-value]


def absent(content: Mapping[str, Any]) -> str | None:
    """A sentence on files that are not here, where no stage makes them; paths are the project's.

    Composing for another machine is no mistake, running on this one is: callers choose.
    """
    source, scenes = content["source"], content["predict"]["scenes"]
    made = set(source["extra_scenes"].values()) if source["make"] else set()
    paths = {f"predict.scenes.{n}": path for n, path in scenes.items() if path not in made}
    if not source["make"]:
        paths = {"source.path" if "path" in source else "source.root": source["root"], **paths}
    wanted = [("imagery", key, path) for key, path in paths.items()]
    # DVC watches these too.
    if isinstance(source["exclude"], str):
        wanted.append(("a CSV file with the ids of tiles", "source.exclude", source["exclude"]))
    if (donor := content["train"]["init_from"]) and _watched(donor) == donor:
        wanted.append(("a bundle", "train.init_from", donor))
    for what, key, path in wanted:
        if not (CONF.parent / path).exists():
            return f"Expected {what} at {key}={path}, got nothing there. Mend the path."
    return None


def load(path: Path = PARAMS) -> Params:
    """The checked content of ``params.yaml``."""
    return validate(read(path), where=str(path))


def read(path: Path = PARAMS) -> dict[str, Any]:
    """The content of ``params.yaml`` as it stands."""
    if not path.is_file():
        raise ConfigError(f"Expected {path} here, found none. Run python -m pipeline compose.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"Expected YAML in {path}, got {flat(error)}.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"Expected sections in {path}, got {type(content).__name__}.")
    return content


def validate(
    content: Mapping[str, Any], overrides: Sequence[str] = (), where: str | None = None
) -> Params:
    """Typed sections of a composed configuration.

    Args:
        content: nested mappings.
        overrides: what was given on the command line, to name it as the place of a mistake.
        where: the file that holds it; None finds the file in ``conf/``.

    Raises:
        ConfigError: the first thing that does not fit, with its place and what would fit.
    """
    _refuse_missing(content, overrides, where)
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        found = error.errors(include_url=False)
        raise ConfigError(validation_sentence(found, content, overrides, where)) from None


def _refuse_missing(content: Any, overrides: Sequence[str], where: str | None = None) -> None:
    for key, value in flatten(content).items():
        if value == "???":
            raise ConfigError(
                f"Expected a value for {key} ({place_of(key, overrides, where)}), got none. "
                f"Add {key}=... to the overrides."
            )


def flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of nested mappings by dotted key."""
    leaves: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            leaves |= flatten(value, f"{name}.")
        else:
            leaves[name] = value
    return leaves


@lru_cache(maxsize=64)
def composition(overrides: tuple[str, ...]) -> Any:
    """What Hydra composes, with its interpolations; it need not be complete."""
    return _hydra_compose(overrides)


def resolved(cfg: Any) -> dict[str, Any]:
    """Values of a composition; ``???`` may stand in it."""
    content: dict[str, Any] = yaml.safe_load(_to_yaml(cfg))
    return content


def composed(overrides: tuple[str, ...]) -> dict[str, Any]:
    """Leaves of a composition that need not be complete."""
    return flatten(resolved(composition(overrides)))


def known_keys(overrides: Sequence[str]) -> list[str]:
    """Every group, and every key that ``conf/`` composes to with the options that were chosen."""
    from hydra.errors import HydraException

    pairs = [override.split("=", 1) for override in overrides if "=" in override]
    chosen = [f"{group}={option}" for group, option in pairs if option in options_of(group)]
    try:
        return [*groups(), *composed(tuple(chosen))]
    except HydraException:  # conf/ itself does not compose: there are only groups to tell of
        return groups()
