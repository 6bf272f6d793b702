"""How ``params.yaml`` differs from what ``conf/`` would give: as the overrides that lead to it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pipeline.config import composed, flatten
from pipeline.config_messages import groups, options_of

MOST_PRUNED = 8  # each costs a composition


def overrides_of(content: Mapping[str, Any]) -> list[str]:
    """Overrides that turn plain ``conf/`` into ``content``, as few as this search finds.

    Group by group, the option that leaves the fewest differing keys is taken; what differs after
    that is listed key by key. Later groups come first, since their options may bring along those of
    earlier ones, as ``model=autoencoder`` does its loss.
    """
    wanted = flatten(content)
    found: tuple[str, ...] = ()
    differing = _differing(wanted, composed(found))
    for group in reversed(groups()):
        if any(key.partition(".")[0] == group for key in differing):
            found, differing = _best_option(group, wanted, found, differing)
    return _needed([*reversed(found), *_assignments(differing, wanted)], wanted)


def _assignments(keys: list[str], wanted: Mapping[str, Any]) -> list[str]:
    """An override a key; a mapping that stands where ``conf/`` has null is given whole."""
    inner: dict[str, str] = {}  # key of such a mapping -> the mapping's own
    for key in keys:
        if key not in wanted:
            inner |= {k: key for k in wanted if k.startswith(f"{key}.")}
    found = []
    for key in keys:
        if members := [k for k, outer in inner.items() if outer == key]:
            pairs = ",".join(f"{k[len(key) + 1 :]}:{_shown(wanted[k])}" for k in members)
            found.append(f"{key}={{{pairs}}}")
        elif key not in inner:
            found.append(f"{key}={_shown(wanted.get(key))}")
    return found


def _needed(overrides: list[str], wanted: Mapping[str, Any]) -> list[str]:
    """The same without those that others bring along, as ``source=sat`` does its split."""
    from hydra.errors import HydraException

    if len(overrides) > MOST_PRUNED:
        return overrides
    for override in list(overrides):
        rest = [other for other in overrides if other != override]
        # Keys without their option, or values that would need quotes, do not compose: needed.
        with suppress(HydraException):
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
    """Sections of ``content`` that plain ``conf/`` would give otherwise; cheaper than the above."""
    keys = _differing(flatten(content), composed(()))
    return list(dict.fromkeys(key.partition(".")[0] for key in keys))


def _differing(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    absent = object()
    keys = dict.fromkeys([*wanted, *given])
    return [key for key in keys if wanted.get(key, absent) != given.get(key, absent)]


def _shown(value: object) -> str:
    return "null" if value is None else str(value).replace(" ", "")
