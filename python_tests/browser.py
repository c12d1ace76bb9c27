"""A real browser for tests of pages: Chromium without a window, with WebGL in software."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
"""Commands that start a browser which these tests can use."""
FLAGS = [
    "--headless=new",
    "--no-sandbox",  # it refuses to start for root with one
    "--disable-dev-shm-usage",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Start Chromium; skip where there is none, unless DFAST_TEST_BROWSER names one.

    Its driver keeps an event loop running in this thread, so it must not outlive the module: other
    libraries' loops and the handlers of signals do not work beside it.
    """
    wanted = os.environ.get("DFAST_TEST_BROWSER")
    found = wanted or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("needs Chromium: apt-get install chromium, or name it in DFAST_TEST_BROWSER")
    if not wanted:
        pytest.importorskip("playwright", reason='needs playwright: pip install ".[test]"')
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which(found), args=FLAGS)
        yield browser
        browser.close()
