"""Says in one sentence what in the configuration does not fit, and where it stands."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml

from pipeline.schema import Params

MOST = 20  # keys of a section that a sentence lists
CONF = Path(__file__).resolve().parent.parent / "conf"


def validation_sentence(
    errors: Sequence[Mapping[str, Any]],
    content: Mapping[str, Any],
    overrides: Sequence[str],
    where: str | None,
) -> str:
    """What pydantic found, as one sentence with its key, its place and what would fit."""
    error, what = _most_telling(errors, content)
    path = _real_path(error["loc"], content)
    key = ".".join(path)
    place = place_of(key, overrides, where)
    if error["type"] == "extra_forbidden":
        known = _fields(path[:-1], content)
        return f"Unknown key {key} in {place}. {_suggest(key, known)}"
    if error["type"] == "missing":
        return f"Expected a value for {key}, found none in {place}."
    got = error.get("input")
    if error["type"] == "union_tag_invalid":
        tag = str(error["ctx"]["discriminator"]).strip("'")
        expected, key, got = error["ctx"]["expected_tags"], f"{key}.{tag}", error["ctx"]["tag"]
        return f"Expected one of {expected} for {key}, got {got!r} in {place}."
    if not path:  # of sections that don't fit each other: it names their keys itself
        return f"{what[0].upper()}{what[1:]}."
    what = what[0].lower() + what[1:]
    shown = "" if isinstance(got, dict) else f", got {got!r}"
    return f"{key}{shown} in {place}: {what}."


def _most_telling(
    errors: Sequence[Mapping[str, Any]], content: Mapping[str, Any]
) -> tuple[Mapping[str, Any], str]:
    """The error to tell, and its message.

    A misspelt key comes before the value that is missing for it. Where a value may be of several
    kinds there is an error a kind: the deepest is that of the kind that was given.
    """
    unknown = [error for error in errors if error["type"] == "extra_forbidden"]
    first = (unknown or errors)[0]
    path = _real_path(first["loc"], content)
    same = [e for e in errors if _real_path(e["loc"], content)[: len(path)] == path]
    depth = max(len(_real_path(error["loc"], content)) for error in same)
    deepest = [e for e in same if len(_real_path(e["loc"], content)) == depth]
    kinds = [str(error["msg"]).removeprefix("Value error, ") for error in deepest]
    same_place = _real_path(deepest[0]["loc"], content)
    told = [k for k, e in zip(kinds, deepest, strict=True)
            if _real_path(e["loc"], content) == same_place]  # fmt: skip
    shorter = [kind.removeprefix("Input should be ") for kind in told[1:]]
    return deepest[0], " or ".join(dict.fromkeys([told[0], *shorter]))


def _real_path(loc: Iterable[Any], content: Any) -> list[str]:
    """The location without the tags that pydantic puts in for unions."""
    path: list[str] = []
    node = content
    for part in map(str, loc):
        if isinstance(node, Mapping) and part not in node and _is_tag(part, node):
            continue
        if path and not isinstance(node, (Mapping, list)):
            break
        path.append(part)
        node = node.get(part) if isinstance(node, Mapping) else None
    return path


def _is_tag(part: str, node: Mapping[str, Any]) -> bool:
    return part in (node.get("name"), node.get("kind")) or "[" in part


def _fields(path: Sequence[str], content: Mapping[str, Any]) -> list[str]:
    """Dotted keys that the section at this path may have."""
    if not path:
        return list(Params.model_fields)
    annotation = Params.model_fields[path[0]].annotation
    models = [m for m in (get_args(annotation) or (annotation,)) if hasattr(m, "model_fields")]
    section = content.get(path[0], {})
    for model in models:
        tags = [get_args(model.model_fields[k].annotation) for k in ("kind", "name")
                if k in model.model_fields]  # fmt: skip
        if not tags or any({section.get("kind"), section.get("name")} & set(t) for t in tags):
            return [f"{path[0]}.{name}" for name in model.model_fields]
    return [f"{path[0]}.{name}" for model in models for name in model.model_fields]


def place_of(key: str, overrides: Sequence[str], where: str | None) -> str:
    """File or command line that set a key."""
    if where:
        return where
    for override in overrides:
        given, _, value = override.lstrip("+~").partition("=")
        whole = "." in given or value.startswith(("{", "["))  # not the option of a group
        if given == key or (whole and key.startswith(f"{given}.")):
            return "the overrides"
    if key.startswith("train.member_networks."):
        return f"{CONF.name}/model/{key.split('.')[2]}.yaml"
    section = key.partition(".")[0]
    chosen = chosen_options(overrides)
    files = [CONF / "config.yaml", *(CONF / g / f"{o}.yaml" for g, o in chosen.items())]
    # The experiment, which has the last word, is the last of the groups.
    for file in reversed(files):
        if file.is_file() and _holds(file, key):
            return f"{CONF.name}/{file.relative_to(CONF).as_posix()}"
    return f"{CONF.name}/{section}" + (f"/{chosen[section]}.yaml" if section in chosen else "")


def chosen_options(overrides: Sequence[str]) -> dict[str, str]:
    """The option of each group: of the defaults list, of an option that brings it along, given."""
    given = {group: option for group, _, option in (o.partition("=") for o in overrides)
             if option in options_of(group)}  # fmt: skip
    chosen: dict[str, str] = {}
    for group, option in _defaults(CONF / "config.yaml").items():
        chosen[group] = given.get(group, option)
        file = CONF / group / f"{chosen[group]}.yaml"
        brought = _defaults(file) if file.is_file() else {}
        chosen |= {g: o for g, o in brought.items() if g not in given}
    return {group: option for group, option in chosen.items() if option}


def _defaults(file: Path) -> dict[str, str]:
    """Group -> option in the defaults list of a file."""
    listed = (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("defaults", [])
    pairs = [pair for item in listed if isinstance(item, dict) for pair in item.items()]
    return {re.sub(r"^(optional |override )?/?", "", group): option for group, option in pairs}


def _holds(file: Path, key: str) -> bool:
    """Whether a file of ``conf/`` sets a key."""
    text = file.read_text(encoding="utf-8")
    section, _, rest = key.partition(".")
    whole = file.parent == CONF or text.startswith("# @package _global_")
    if not whole and file.parent.name != section:
        return False
    node = yaml.safe_load(text)
    for part in (key if whole else rest).split("."):
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return True


def composition_sentence(
    error: Exception, overrides: Sequence[str], known_keys: Callable[[Sequence[str]], list[str]]
) -> str:
    """Hydra's complaint, shortened to one sentence with what would fit."""
    from hydra.errors import MissingConfigException, OverrideParseException

    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        place = "the overrides" if f"{group}={option}" in overrides else f"{CONF.name}/"
        return unknown_option(option, group, place, error.options)
    if isinstance(error, OverrideParseException):
        hint = " Write the path out: nothing here expands ~." if "=~" in error.override else ""
        return (
            "Expected an override like group=option or section.key=value, got "
            f"{error.override!r}.{hint}"
        )
    for group in groups():
        if f"{group}=null" in overrides and group != "experiment":
            return (
                f"Expected an option of {group}, got null in the overrides. "
                f"Take one of {', '.join(options_of(group))}."
            )
    text = flat(error.__cause__ or error) if not str(error) else flat(error)
    if found := re.search(r"Could not (?:override|delete from config:?) '([^']+)'", text):
        # A mapping given for a section is told by the key in it that does not fit.
        key = found.group(1).split("=")[0]
        inner = re.search(rf"full_key: ({re.escape(key)}\.\S+)", str(error.__cause__))
        key = inner.group(1) if inner else key
        if key in known_keys(overrides):
            outer = key.rpartition(".")[0]
            return (
                f"Expected all of {outer}, which stands for another value in {CONF.name}/, got "
                f"{key} in the overrides. Give it whole: {outer}={{...}}."
            )
        added = f" To add an argument, write +{key}=..." if key.startswith("model.layers.") else ""
        return f"Unknown key {key} in the overrides. {_suggest(key, known_keys(overrides))}{added}"
    if found := re.search(r"Error merging override ([^=]+)=(.*)", text):
        key, value = found.groups()
        return f"{key}, got {value} in the overrides: expected the kind of value that conf/ has."
    return f"{CONF.name}/ does not compose: {text}."


def unknown_option(option: str, group: str, place: str, known: Sequence[str] | None = None) -> str:
    """A sentence on an option that a group does not have."""
    options = sorted(known or options_of(group))
    return (
        f"Unknown option {option!r} for {group} in {place}. "
        f"Expected one of {', '.join(options)}.{_nearest(option, options)}"
    )


def _suggest(key: str, known: Sequence[str]) -> str:
    """The nearest spelling; among the keys of the same section where that exists."""
    section = key.rpartition(".")[0]
    inside = [name for name in known if name.startswith(f"{section}.")] if section else []
    # Inside a section its name is no evidence: only the last part is compared.
    close = _nearest(key, [] if inside else known) or _nearest(
        key.removeprefix(f"{section}."), [n.removeprefix(f"{section}.") for n in inside], section
    )
    if close:
        return close.strip()
    if not inside:
        return f"Known keys: {', '.join(name for name in known if '.' not in name)}."
    # What is right below the section: model.layers, not each of its layers.
    depth = section.count(".") + 2
    names = list(dict.fromkeys(".".join(name.split(".")[:depth]) for name in inside))
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return f"Known keys: {', '.join(names[:MOST])}{more}."


def _nearest(word: str, options: Sequence[str], section: str = "") -> str:
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    return f" Did you mean {'.'.join(filter(None, [section, close[0]]))}?" if close else ""


def flat(error: object) -> str:
    """A message on one line."""
    return " ".join(str(error).split()).rstrip(".")


def options_of(group: str) -> list[str]:
    """The options of a group: its files in ``conf/``."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def groups() -> list[str]:
    """The groups, in the order of the defaults list."""
    return list(_defaults(CONF / "config.yaml"))
