"""MLflow's own UI over a store that tracking wrote, in a real browser without a window."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline import tracking
from pipeline.schema import TrackingSection
from pipeline.tracking import ui
from pipeline.tracking.client import connect, reaching
from tests import browser as browsing
from tests.browser import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
PATIENCE = 90  # seconds, for a server that starts on a busy machine
RATES = {"lecture lr=0.001": 0.001, "lecture lr=0.01": 0.01}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A URI and an experiment's id; two runs that differ in the learning rate."""
    patch = pytest.MonkeyPatch()
    patch.delenv("DVC_EXP_NAME", raising=False)
    uri = f"sqlite:///{tmp_path_factory.mktemp('ui') / 'mlflow.db'}"
    section = TrackingSection(enabled=True, experiment="quadband", uri=uri)
    data = tracking.Dataset("sample", "ab" * 32, {"train": {"water": 8}}, ("red", "nir"), 28)
    for rate in RATES.values():
        params = {
            "model": {"name": "lecture"},
            "optimizer": {"name": "sgd", "lr": rate, "momentum": 0.9},
            "train": {"epochs": 5, "batch_size": 128},
        }
        overrides = [f"optimizer.lr={rate}"]
        with tracking.start(section, params=params, overrides=overrides, data=data) as run:
            for epoch in range(1, 6):
                loss = 1 / (1 + 50 * rate * epoch)
                run.metrics({"train_loss": loss, "validation_accuracy": 1 - loss / 2}, epoch)
            run.metrics({"test_accuracy": 1 - loss / 2, "recall_water": 1 - loss / 3})
    patch.undo()
    with reaching(uri):
        return uri, connect(uri, "quadband")[1]


@pytest.fixture(scope="module")
def address(store: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server in a process group of its own, which ends as a whole."""
    with socket.socket() as free:
        free.bind((ui.HOST, 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("w") as out:
        server = subprocess.Popen(
            ui.command(store[0], port),
            env=ui.environment(),
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        _wait(f"http://{ui.HOST}:{port}/health", server, log)
        yield f"http://{ui.HOST}:{port}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(timeout=20)


def _wait(health: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(health, timeout=5):
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.2)
    pytest.fail(f"MLflow's server did not come up:\n{log.read_text()}")


@pytest.fixture
def page() -> Iterator[Page]:
    with chromium() as browser:
        tab = browser.new_page(viewport={"width": 1400, "height": 1000})
        tab.set_default_timeout(browsing.PATIENCE)
        yield tab


def _picture(page: Page, name: str) -> None:
    """Keep a picture where QUADBAND_PICTURES says, for people."""
    if folder := os.environ.get("QUADBAND_PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_two_runs_stand_side_by_side_with_the_parameter_that_differs(
    page: Page, address: str, store: tuple[str, str]
) -> None:
    from playwright.sync_api import expect

    page.goto(ui.link(address, store[1]))
    for name in RATES:
        expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()
    assert re.search(r"/runs\?.*workflowType=machine_learning", page.url)
    headers = {text.strip() for text in page.get_by_role("columnheader").all_inner_texts()}
    _picture(page, "runs")
    assert {"Run Name", "Dataset"} <= headers
    assert len(headers - {""}) <= 6, headers

    page.get_by_role("checkbox", name="Select all runs").check()
    page.get_by_role("button", name="Compare", exact=True).click()
    rate = page.get_by_role("row", name=re.compile(r"^optimizer\.lr "))
    same = page.get_by_role("row", name=re.compile(r"^(train\.batch_size|model\.name) "))
    expect(rate).to_have_count(1)
    expect(same).to_have_count(2)
    page.get_by_role("switch", name="Parameters - Show diff only").click()
    expect(same).to_have_count(0)
    expect(rate).to_have_count(1)
    assert sorted(rate.get_by_role("cell").all_inner_texts()) == ["0.001", "0.01"]
    for name in RATES:
        expect(page.get_by_role("cell", name=name, exact=True)).to_be_visible()
    _picture(page, "compare")


def test_a_run_shows_its_curves(page: Page, address: str, store: tuple[str, str]) -> None:
    from playwright.sync_api import expect

    page.goto(ui.link(address, store[1]))
    page.get_by_role("link", name="lecture lr=0.01", exact=True).click()
    page.get_by_role("tab", name="Model metrics").click()
    for metric in ("train_loss", "validation_accuracy"):
        expect(page.get_by_text(metric, exact=True).first).to_be_visible()
    page.wait_for_timeout(1000)  # the chart draws itself after its frame
    _picture(page, "curves")
