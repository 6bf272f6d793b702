"""Source of a class of this project with all that it needs, to stand in a file of its own."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import sys
from collections.abc import Iterable
from textwrap import dedent
from types import ModuleType
from typing import Any

PROJECT = __name__.partition(".")[0]


class Source:
    """Classes, functions, constants and imports, gathered from the modules they stand in."""

    def __init__(self) -> None:
        self.classes: list[str] = []
        self.constants: list[str] = []
        self.names: set[str] = set()
        # Module -> names; "" -> whole modules.
        self._imports: dict[str, set[str]] = {"": {"torch"}, "torch": {"Tensor", "nn"}}

    @property
    def imports(self) -> list[str]:
        """Import lines, the standard library's first; torch's are always among them."""
        lines = [f"import {name}" for name in self._imports[""]]
        lines += [f"from {m} import {', '.join(sorted(n))}" for m, n in self._imports.items() if m]
        standard = [line for line in lines if _top(line) in sys.stdlib_module_names]
        others = [line for line in lines if line not in standard]
        return [*sorted(standard), *[""] * bool(standard), *sorted(others, key=_by_kind)]

    def use(self, module: str) -> None:
        """A module that the file imports whole."""
        self._imports[""].add(module)

    def add(self, kind: type, called: Iterable[str] = ()) -> None:
        """A class, after what it is made of; methods that nothing calls are left out.

        Args:
            kind: The class.
            called: Methods that others call, beside its ``__init__`` and ``forward``.
        """
        if kind.__name__ not in self.names:
            self.names.add(kind.__name__)
            text = _pruned(dedent(inspect.getsource(kind)), called)
            self._need_all(text, importlib.import_module(kind.__module__))
            self.classes.append(text)

    def _need_all(self, text: str, module: ModuleType) -> None:
        for name in _free(text):
            if name in vars(module) and name not in self.names:
                self._need(name, module, text)

    def _need(self, name: str, module: ModuleType, by: str) -> None:
        """Something that a piece of source refers to by name, as its module knows it."""
        value: Any = vars(module)[name]
        home, imported = _import_of(name, module)
        if imported and _top(f"import {home or imported}") != PROJECT:
            self._imports.setdefault(home, set()).add(imported)
        elif isinstance(value, type):
            self.add(value, _attributes(ast.parse(by)))
        elif home:
            self._need(name, importlib.import_module(home), by)
        else:
            self.names.add(name)
            text = _definition(name, module)
            self._need_all(text, module)
            (self.classes if inspect.isfunction(value) else self.constants).append(text)


def _top(line: str) -> str:
    """The package of an import line."""
    return line.split()[1].partition(".")[0]


def _by_kind(line: str) -> tuple[bool, str]:
    return line.startswith("from"), line


def _import_of(name: str, module: ModuleType) -> tuple[str, str]:
    """Where a module has a name from, and what it imports there; empty if it is its own."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    home = node.module or "" if isinstance(node, ast.ImportFrom) else ""
                    return home, ast.unparse(alias)
    return "", ""


def _definition(name: str, module: ModuleType) -> str:
    """Source of a function or a constant at the top of a module."""
    text = inspect.getsource(module)
    for node in ast.parse(text).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if name in (*names, getattr(node, "name", None)):
            return ast.get_source_segment(text, node) or ""
    raise LookupError(f"{name} is not at the top of {module.__name__}")


def _free(text: str) -> list[str]:
    """Names that a piece of source refers to, but for Python's own, in their order."""
    names = [node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)]
    return [name for name in dict.fromkeys(names) if not hasattr(builtins, name)]


def _attributes(tree: ast.AST) -> list[str]:
    """Names that stand behind a dot."""
    return [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]


def _pruned(text: str, called: Iterable[str]) -> str:
    """A class without the methods that building and running it never calls."""
    (kind,) = ast.parse(text).body
    assert isinstance(kind, ast.ClassDef)
    methods = {node.name: node for node in kind.body if isinstance(node, ast.FunctionDef)}
    wanted, waiting = set[str](), ["__init__", "forward", *called]
    while waiting:
        name = waiting.pop()
        if name in methods and name not in wanted:
            wanted.add(name)
            waiting += _attributes(methods[name])
    lines = text.rstrip().split("\n")
    for name in reversed(methods):
        node = methods[name]
        if name not in wanted:
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)]) - 1
            del lines[first - (not lines[first - 1]) : node.end_lineno]
    return "\n".join(lines)
