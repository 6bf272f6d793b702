"""The command line: what a mistake, the system's or the user's, ends in."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import __main__ as command
from pipeline.errors import ConfigError


def _raising(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.delenv("PIPELINE_DEBUG", raising=False)
    monkeypatch.setattr(command, "_run_stage", fail)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "'No space left on device' at data/x. Make room"),
        (errno.EACCES, "'Permission denied' at data/x. Give yourself access"),
        (errno.EROFS, "'Read-only file system' at data/x. Give yourself access"),
    ],
)
def test_what_the_system_refuses_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, words: str
) -> None:
    _raising(monkeypatch, OSError(number, os.strerror(number), "data/x"))
    assert command.main(["ingest"]) == 1
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    monkeypatch.setenv("PIPELINE_DEBUG", "1")
    with pytest.raises(OSError, match="data/x"):
        command.main(["ingest"])


def test_a_user_s_mistake_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _raising(monkeypatch, ConfigError("Expected this, got that."))
    assert command.main(["train"]) == 1
    assert capsys.readouterr().err == "error: Expected this, got that.\n"


@pytest.mark.parametrize("error", [OSError("no number"), FileNotFoundError(errno.ENOENT, "x", "y")])
def test_a_fault_of_the_program_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    _raising(monkeypatch, error)
    with pytest.raises(type(error)):
        command.main(["train"])


def test_evaluate_takes_a_bundle_a_store_and_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: dict[str, dict[str, str]] = {}
    monkeypatch.setattr(command, "_run_stage", taken.__setitem__)
    assert command.main(["evaluate", "--bundle", "a", "--store", "b", "--out", "c"]) == 0
    assert taken == {"evaluate": {"bundle": "a", "store": "b", "out": "c"}}
    assert command.main(["evaluate"]) == 0
    assert taken == {"evaluate": {}}


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("repeat experiment=seeds --name v model=lenet",
         {"overrides": ["experiment=seeds", "model=lenet"], "name": "v", "force": False}),
        ("repeat --force", {"overrides": [], "name": None, "force": True}),
        ("compare a --summary b --pool c",
         {"runs": ["a", "b", "c"], "summary": True, "pool": True}),
        ("compose a=b c=d", {"overrides": ["a=b", "c=d"]}),
        ("show --split test 5 --worst", {"tile": "5", "within": "test", "worst": True}),
        ("show --class water", {"tile": None, "label": "water"}),
        ("kernel --stride 2 sobel_x --at 1,2", {"name": "sobel_x", "stride": 2, "at": "1,2"}),
        ("kernel --matrix [[-1]]", {"name": None, "matrix": "[[-1]]"}),
    ],
)  # fmt: skip
def test_options_stand_anywhere(words: str, wanted: dict[str, object]) -> None:
    given = vars(command._parser().parse_args(words.split()))
    assert given | wanted == given


@pytest.mark.parametrize("words", ["repeat a=b --nam v --wrong", "compare", "augment a=b", ""])
def test_what_no_command_takes_is_told_with_the_usage(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command._parser().parse_args(words.split())
    assert "usage: python -m pipeline" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
def test_a_file_that_may_not_grow_is_told_with_status_1(tmp_path: Path) -> None:
    # The limit stands for a full disk: a write that ends halfway.
    program = (
        "import resource, signal, sys, numpy as np\n"
        "from pipeline import __main__ as command\n"
        "from pipeline.packing import StoreWriter\n"
        "from pipeline.types import Bands, Classes\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "def write(*_):\n"
        "    import pathlib\n"
        "    root = pathlib.Path(sys.argv[1]) / 'tiles'\n"
        "    with StoreWriter(root, Bands(('a',)), Classes(()), 8, np.dtype('u1')) as writer:\n"
        "        writer.append('train', np.zeros((9_000, 8, 8, 1), np.uint8))\n"
        "command._run_stage = write\n"
        "sys.exit(command.main(['ingest']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("error: Expected to read and write files, got 'File too large'")
    assert not (tmp_path / "tiles.partial").exists()


@pytest.mark.parametrize(("overrides", "status"), [([], 0), (["train.epochz=3"], None)])
def test_a_signal_after_all_is_written_stops_nothing_more(
    overrides: list[str], status: int | None, tmp_path: Path
) -> None:
    script = (
        "import atexit, os, runpy, signal, sys\n"
        "atexit.register(os.kill, os.getpid(), signal.SIGTERM)\n"  # while python packs up
        f"sys.argv[1:] = {['compose', *overrides]}\n"
        "runpy.run_module('pipeline', run_name='__main__')\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(command.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, check=False)
    assert done.returncode == (-signal.SIGTERM if status is None else status)
    assert (tmp_path / "params.yaml").is_file() == (status == 0)
