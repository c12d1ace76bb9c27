"""A real browser for the tests of pages: Chromium without a window, with WebGL in software."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
FLAGS = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage"]
FLAGS += ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Start Chromium; skip where there is none, unless DFAST_TEST_BROWSER names one."""
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


@pytest.fixture
def tab(chromium: Any) -> Iterator[Any]:
    """Open an empty tab that fails its test if the page raises or loads anything."""
    context = chromium.new_context(viewport={"width": 400, "height": 400}, offline=True)
    page, troubles = context.new_page(), []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda said: troubles.append(said.text) if said.type == "error" else None)
    page.on(
        "request",
        lambda request: (
            None if request.url.startswith(("data:", "blob:")) else troubles.append(request.url)
        ),
    )
    yield page
    context.close()
    assert not troubles
