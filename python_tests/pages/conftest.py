"""A tab for the tests of pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


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
