"""Read HTML in tests: whether it is well formed, what it holds, and what it would load."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser

from PIL import Image

VOID = {"meta", "img", "br", "hr", "link", "input"}
LOADS = {"src", "href", "data", "srcset", "poster", "action"}
"""Attributes whose value a browser fetches."""


class Page(HTMLParser):
    """The elements of a page; the parser fails on an element that is not closed in its turn.

    Attributes:
        elements: names and attributes, in order; those of pages inside the page among them.
        text: what is outside of scripts and styles.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text, self._open = "", list[str]()
        self.feed(html)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        values = {name: value or "" for name, value in attrs}
        self.elements.append((tag, values))
        if "srcdoc" in values:
            self.elements += Page(values["srcdoc"]).elements
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open[-1] == tag, f"</{tag}> closes {self._open[-1:]}"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("script", "style"):
            self.text += data

    def named(self, tag: str) -> list[dict[str, str]]:
        """Return the attributes of all elements of a name."""
        return [values for name, values in self.elements if name == tag]

    def loads(self) -> list[str]:
        """Return the addresses, other than data, that the page would load."""
        found = [v for _, values in self.elements for k, v in values.items() if k in LOADS]
        return [address for address in found if not address.startswith("data:")]

    def images(self) -> list[Image.Image]:
        """Return the images inside the page, decoded."""
        sources = [values["src"].partition(";base64,")[2] for values in self.named("img")]
        images = [Image.open(io.BytesIO(base64.b64decode(s, validate=True))) for s in sources]
        for image in images:
            image.load()
        return images
