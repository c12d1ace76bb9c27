"""A tab for the tests of the page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def tab(chromium: Any) -> Iterator[Any]:
    """Open an empty tab that fails its test if the page raises, or asks for another host."""
    if "DFAST_TEST_BROWSER" not in os.environ:
        pytest.importorskip("viser", reason='needs viser: pip install ".[test]"')
    context = chromium.new_context(viewport={"width": 900, "height": 600})
    page, troubles = context.new_page(), []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: troubles.append(request.url) if _far(request.url) else None)
    yield page
    context.close()
    assert not troubles


def _far(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "blob:", "data:"))
