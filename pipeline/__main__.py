"""``python -m pipeline``: compose the configuration, run a stage of it, or look at a part of it."""

from __future__ import annotations

import argparse
import errno
import importlib
import inspect
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from typing import Any

from pipeline import waiting
from pipeline.errors import ConfigError, PipelineError
from pipeline.stopping import status_of

waiting.briefly()  # before torch is imported

# Stage -> what --help says; a stage's module is imported only when it runs.
STAGES = {
    "sample": "make the sample scenes (source=sample)",
    "ingest": "cut the source into the tile store data/tiles/",
    "analyze": "what the network does to a tile: reports/network/",
    "train": "train the network: models/",
    "baseline": "what plain statistics tell, for comparison: reports/baseline.json",
    "evaluate": "measure it on the test tiles: reports/metrics.json",
    "visualize": "look inside it: reports/visualize/, reports/index.html",
    "predict": "map scenes with it: predictions/",
    "export": "write it for other programs: models/export/",
}

# The same of what is run beside the stages, in pipeline/commands/.
COMMANDS = {
    "augment": "draw what each distortion does to tiles: reports/augment/",
    "kernel": "slide a kernel made by hand over a tile, in numbers: reports/kernel/",
    "lr-find": "find a learning rate for the network and the tiles: reports/lr_find/",
    "show": "all there is to know of a tile, and its picture: reports/show/",
}

# What the system may refuse and a user can grant, and how.
SPACE, ACCESS = "Make room on the disk.", "Give yourself access, or work in another folder."
MENDABLE = {
    errno.ENOSPC: SPACE,
    errno.EDQUOT: SPACE,
    errno.EFBIG: SPACE,
    errno.EACCES: ACCESS,
    errno.EPERM: ACCESS,
    errno.EROFS: ACCESS,
    errno.EISDIR: "Name a file; that is a folder.",
    errno.ENOTDIR: "Move the file that stands where a folder belongs.",
    errno.EEXIST: "Move the file that stands where a folder belongs.",
}


class _Mixed(argparse.ArgumentParser):
    """Takes overrides, runs and so on before, between and after options."""

    _inside = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As ``parse_known_intermixed_args``, which calls this in its turn."""
        if self._inside:
            return super().parse_known_args(args, namespace)
        self._inside = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._inside = False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline", description=__doc__)
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=_Mixed
    )
    compose = commands.add_parser(
        "compose", help="write params.yaml from conf/ with overrides; then run dvc repro"
    )
    compose.add_argument("overrides", nargs="*", metavar="group=option|section.key=value")
    ui = commands.add_parser("ui", help="serve MLflow's pages and print the link to the runs")
    ui.add_argument("--port", type=int, default=5000)
    compare = commands.add_parser(
        "compare", help="runs side by side, and whether one is better: reports/compare.html"
    )
    compare.add_argument(
        "runs", nargs="+", metavar="RUN",
        help="MLflow run (id or name), DVC experiment or revision, or folder; 'vgg-*' takes many",
    )  # fmt: skip
    compare.add_argument("--summary", action="store_true", help="also mean and deviation")
    compare.add_argument("--pool", action="store_true", help="folds of one pattern count as one")
    repeat = commands.add_parser(
        "repeat", help="experiment=kfold or experiment=seeds, run by run, then mean and deviation"
    )
    repeat.add_argument("overrides", nargs="*", metavar="group=option|section.key=value")
    repeat.add_argument("--name", help="of the DVC experiments, before their number")
    repeat.add_argument("--force", action="store_true", help="run again what has that name")
    doubt = commands.add_parser(
        "label-errors", help="labels that look wrong, ranked: reports/label_errors.csv"
    )
    doubt.add_argument("--folds", type=_two_or_more, help="networks that are trained; 4")
    doubt.add_argument("--epochs", type=_one_or_more, help="of each of them; 6")
    for stage, text in (STAGES | COMMANDS).items():
        command = commands.add_parser(stage, help=text)
        if stage == "predict":
            command.add_argument("scene", nargs="?", help="a name in predict.scenes; all if absent")
        if stage == "evaluate":
            command.add_argument("--bundle", metavar="DIR", help="a network; models/ if absent")
            command.add_argument("--store", metavar="DIR", help="tiles; data/tiles/ if absent")
            command.add_argument("--out", metavar="DIR", help="where the measures go")
        if stage == "lr-find":
            command.add_argument("--start", type=float, help="the lowest rate: 1e-6")
            command.add_argument("--end", type=float, help="the highest: 10")
            command.add_argument("--steps", type=int, help="from one to the other: 300")
        if stage == "show":
            _of_show(command)
        if stage == "kernel":
            _of_kernel(command)
    return parser


def _of_show(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("tile", nargs="?", help="a number from 0, a range such as 500-505, or an id")
    add("--class", dest="label", metavar="NAME", help="tiles of a class instead")
    add("--worst", action="store_true", help="those that the network is furthest from knowing")
    add("--split", dest="within", help="numbers count within it; of --class and --worst: test")
    add("--count", type=int, help="tiles of --class or --worst: 1")
    add("--stretch", help="from black to white: tile, or training")
    add("--out", metavar="PATH", help="a .png, or a folder; reports/show/ if absent")


def _of_kernel(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("name", nargs="?", help="sobel_x, laplacian, box_blur and so on")
    add("--matrix", metavar="ROWS", help="a kernel of your own: [[1,0,-1],[2,0,-2],[1,0,-1]]")
    add("--tile", help="a number from 0, or an id: 0")
    add("--split", dest="within", help="numbers count within it; within the store if absent")
    add("--band", help="by name; the last if absent")
    add("--padding", help="same (edges repeated), zeros, valid (none): same")
    add("--stride", type=int, help="pixels from one window to the next: 1")
    add("--dilation", type=int, help="pixels from one weight to the next: 1")
    add("--at", metavar="ROW,COLUMN", help="of the answer, told in numbers; its peak if absent")
    add("--out", metavar="PNG", help="reports/kernel/<name>.png if absent")


def _one_or_more(text: str) -> int:
    return _at_least(1, text)


def _two_or_more(text: str) -> int:
    return _at_least(2, text)


def _at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"expected a whole number from {least}, got {text!r}")
    return int(text)


def _compose(overrides: Sequence[str]) -> None:
    import yaml

    from pipeline.config import PARAMS, absent, compose
    from pipeline.console import say, warn

    text = compose(overrides)
    if sentence := absent(yaml.safe_load(text)):
        warn(sentence)
    before = PARAMS.read_text(encoding="utf-8") if PARAMS.is_file() else None
    PARAMS.write_text(text, encoding="utf-8")
    say(f"{PARAMS} is as it was." if text == before else f"Wrote {PARAMS}. Next: dvc repro")


def _run_stage(stage: str, arguments: dict[str, str]) -> None:
    from pipeline.config import load, read

    params = load()
    package = "stages" if stage in STAGES else "commands"
    run = importlib.import_module(f"pipeline.{package}.{stage.replace('-', '_')}").run
    wanted = inspect.signature(run).parameters
    sections = {name: getattr(params, name) for name in wanted if name in type(params).model_fields}
    content = read()
    # What is told of a tile depends on no parameter.
    bare = stage in COMMANDS and not sections.keys() - {"engine"}
    overrides = [] if bare else _say_difference(content, exactly="overrides" in wanted)
    facts = {"overrides": overrides, "composed": content}
    run(**sections, **{name: fact for name, fact in facts.items() if name in wanted}, **arguments)


def _say_difference(content: dict[str, Any], *, exactly: bool) -> list[str]:
    """Print how ``params.yaml`` differs from plain ``conf/``; the overrides that lead to it.

    ``dvc repro`` never composes, so an edit in ``conf/`` would otherwise go unnoticed.
    """
    from pipeline.config_difference import overrides_of, sections_that_differ
    from pipeline.console import say, warn
    from pipeline.tracking.place import rank_zero

    if not rank_zero():
        return []
    try:
        differing = sections_that_differ(content)
    except ConfigError as error:  # what was composed before it broke is still what is wanted
        warn(f"{error} What runs is params.yaml as it stands.")
        return []
    if not differing:
        return []
    overrides = overrides_of(content) if exactly else []
    said = f"by: {shlex.join(overrides)}" if exactly else f"in: {', '.join(differing)}"
    say(f"params.yaml differs from conf/ {said}")
    return overrides


def _mendable(error: Exception) -> str | None:
    """What a user is told of an error; None: it is a fault of the program."""
    if not isinstance(error, OSError):
        return str(error)
    if (advice := MENDABLE.get(error.errno or 0)) is None:
        return None
    where = f" at {error.filename}" if error.filename else ""
    return f"Expected to read and write files, got {error.strerror!r}{where}. {advice}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a user's mistake prints one sentence and gives status 1."""
    arguments = vars(_parser().parse_args(argv))
    command = arguments.pop("command")
    try:
        if command == "compose":
            _compose(arguments["overrides"])
        elif command == "ui":
            from pipeline.tracking.ui import serve

            serve(arguments["port"])
        elif command == "compare":
            from pipeline.comparison.command import compare

            compare(arguments["runs"], summary=arguments["summary"], pool=arguments["pool"])
        elif command == "repeat":
            from pipeline.repeat import repeat

            repeat(arguments["overrides"], name=arguments["name"], force=arguments["force"])
        elif command == "label-errors":
            from pipeline.config import load
            from pipeline.label_errors import run

            run(load(), **{k: v for k, v in arguments.items() if v is not None})
        else:
            _run_stage(command, {k: v for k, v in arguments.items() if v is not None})
    except (PipelineError, OSError) as error:
        if os.environ.get("PIPELINE_DEBUG") or not (sentence := _mendable(error)):
            raise
        print(f"error: {sentence}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print("stopped", file=sys.stderr)
        return status_of(stop)
    return 0


if __name__ == "__main__":
    status = main()
    if not status:  # all is written: a signal that comes while python packs up stops nothing more
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    sys.exit(status)
