"""Which modules of the project import which: read from the source, run by nobody.

``python -m tests.imports`` prints the deps that dvc.yaml should name for each stage.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# They change no output of a stage: what is printed, and where runs are recorded.
SILENT = ("pipeline.console", "pipeline.tracking")


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name; a package's name is its ``__init__``."""
    found = {}
    for path in sorted((ROOT / "pipeline").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path
    return found


def _type_checking_only(tree: ast.Module) -> set[ast.AST]:
    """Nodes below ``if TYPE_CHECKING:``: no import when the program runs."""
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for child in node.body:
                skipped.update(ast.walk(child))
    return skipped


@lru_cache(maxsize=256)
def imports_of(name: str) -> frozenset[str]:
    """Modules of the project that a module imports, at its top or inside a function."""
    known = modules()
    tree = ast.parse(known[name].read_text(encoding="utf-8"))
    skipped = _type_checking_only(tree)
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(module for module in found if module in known and module != name)


def closure(name: str) -> set[str]:
    """Modules that run when a module is imported and used, itself and packages included."""
    reached: set[str] = set()
    waiting = [name]
    while waiting:
        module = waiting.pop()
        if module in reached:
            continue
        reached.add(module)
        parent = module.rpartition(".")[0]
        waiting.extend(imports_of(module))
        if "." in parent:
            waiting.append(parent)
    return reached


def stage_deps(stage: str) -> list[str]:
    """Files of the project that the outputs of a stage depend on, sorted."""
    known = modules()
    wanted = closure(f"pipeline.stages.{stage}") - {"pipeline", "pipeline.stages"}
    return sorted(
        known[module].relative_to(ROOT).as_posix()
        for module in wanted
        if not module.startswith(SILENT)
    )


if __name__ == "__main__":
    for path in sorted((ROOT / "pipeline" / "stages").glob("[!_]*.py")):
        print(f"{path.stem}:")
        print("\n".join(f"      - {dep}" for dep in stage_deps(path.stem)))
