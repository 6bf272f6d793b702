"""How ``params.yaml`` differs from what ``conf/`` would give: as the overrides that lead to it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from pipeline.config import composed, composing, composition, flatten, resolved
from pipeline.config_messages import groups, options_of

MOST_PRUNED = 8  # each costs a composition
SPECIAL = re.compile(r"([\\()\[\]{}:=, \t])")  # what a key inside a mapping escapes


def overrides_of(content: Mapping[str, Any]) -> list[str]:
    """Overrides that turn plain ``conf/`` into ``content``, as few as this search finds.

    Group by group, the option that leaves the fewest differing keys is taken; what differs after
    that is listed key by key. Later groups come first, since their options may bring along those of
    earlier ones, as ``model=autoencoder`` does its loss.
    """
    from hydra.errors import HydraException

    wanted = flatten(content)
    found: tuple[str, ...] = ()
    differing = _differing(wanted, composed(found))
    for group in reversed(groups()):
        if any(key.partition(".")[0] == group for key in differing):
            found, differing = _best_option(group, wanted, found, differing)
    found = found[::-1]
    # First what stands for itself: what is interpolated from it follows, or is told after it.
    for interpolated in (False, True):
        with suppress(HydraException):  # edited by hand into what no override can say
            base = composition(found)
            found += tuple(_changes(content, base, resolved(base), interpolated=interpolated))
    return _needed(list(found), wanted)


def _changes(
    wanted: Mapping[str, Any],
    base: Any,
    given: Mapping[str, Any],
    prefix: str = "",
    *,
    interpolated: bool,
) -> Iterator[str]:
    """Overrides that turn a mapping, ``base`` with its values ``given``, into another."""
    from omegaconf import OmegaConf

    yield from (f"~{prefix}{key}" for key in given if key not in wanted)
    for key, value in wanted.items():
        name, old = f"{prefix}{key}", given.get(key)
        stands_for_another = OmegaConf.is_interpolation(base, key) if key in given else False
        if key not in given:
            yield f"+{name}={shown(value)}"
        elif value == old or (stands_for_another and not interpolated):
            continue
        elif not isinstance(old, Mapping) or value is None or stands_for_another:
            yield f"{name}={shown(value)}"
        elif isinstance(value, Mapping) and _can_merge(old, value):
            yield from _changes(value, base[key], old, f"{name}.", interpolated=interpolated)
        else:  # a mapping that is assigned is merged into the one that is there
            yield from (f"~{name}", f"+{name}={shown(value)}")


def _can_merge(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether key by key is the shorter way, and all keys are words that an override can name."""
    words = all(re.fullmatch(r"[A-Za-z_]\w*", str(key)) for key in {**old, **new})
    return words and (not old or not new or not old.keys().isdisjoint(new))


def _needed(overrides: list[str], wanted: Mapping[str, Any]) -> list[str]:
    """The same without those that others bring along, as ``source=sat`` does its split."""
    from hydra.errors import HydraException

    if len(overrides) > MOST_PRUNED:
        return overrides
    for override in list(overrides):
        rest = [other for other in overrides if other != override]
        with suppress(HydraException):  # keys without their option do not compose: needed
            if not _differing(wanted, composed(tuple(rest))):
                overrides = rest
    return overrides


def _best_option(
    group: str, wanted: Mapping[str, Any], found: tuple[str, ...], differing: list[str]
) -> tuple[tuple[str, ...], list[str]]:
    best = (found, differing)
    # An option's name mostly stands in its section: trying that one first mostly ends the search.
    names = {wanted.get(f"{group}.{key}") for key in ("name", "kind", "method")}
    for option in sorted(options_of(group), key=lambda option: option not in names):
        candidate = (*found, f"{group}={option}")
        rest = _differing(wanted, composed(candidate))
        if len(rest) < len(best[1]):
            best = (candidate, rest)
        if not any(key.partition(".")[0] == group for key in rest):
            break
    return best


def sections_that_differ(content: Mapping[str, Any]) -> list[str]:
    """Sections of ``content`` that plain ``conf/`` would give otherwise; cheaper than the above.

    Raises:
        ConfigError: ``conf/`` does not compose.
    """
    with composing():
        keys = _differing(flatten(content), composed(()))
    return list(dict.fromkeys(key.partition(".")[0] for key in keys))


def _differing(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    absent = object()
    keys = dict.fromkeys([*wanted, *given])
    return [key for key in keys if wanted.get(key, absent) != given.get(key, absent)]


def shown(value: object) -> str:
    """A value in the grammar of Hydra's overrides."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_key(key)}:{shown(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(shown, value)) + "]"
    return _text(value) if isinstance(value, str) else str(value)


def _text(text: str) -> str:
    """A string, in quotes where it would be read as something else without."""
    from hydra.core.override_parser.types import Quote, QuotedString

    if _read(f"{{k:{text}}}") == {"k": text} and _read(text) == text:
        return text
    quote = Quote.single if '"' in text else Quote.double
    return str(QuotedString(text, quote).with_quotes())


def _key(key: object) -> str:
    """A key inside a mapping, which takes no quotes."""
    plain = _read(f"{{{key}:0}}") == {key: 0}
    return str(key) if plain else SPECIAL.sub(r"\\\1", str(key))


def _read(text: str) -> object:
    """The value that Hydra makes of a text; the exception where it makes none."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(f"k={text}").value()
    except HydraException as error:
        return error
