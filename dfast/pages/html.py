"""Pieces of HTML: escaped text, pictures inside the page, tables, and the page around them."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape

KINDS = {".png": "image/png", ".gif": "image/gif", ".jpg": "image/jpeg", ".webp": "image/webp"}
"""Media type of an image file by its ending."""
PAGES = (".html", ".htm")
"""Endings of a page's file."""
STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #777; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1280px;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
p { margin: .3rem 0; } .soft { color: var(--soft); }
img { max-width: 100%; height: auto; border-radius: 4px; }
figure { margin: 0; } figcaption { color: var(--soft); font-size: .85rem; }
table { border-collapse: collapse; } td, th { padding: .15rem 1rem .15rem 0; text-align: left;
  border-bottom: 1px solid var(--line); font-weight: normal; vertical-align: top; }
th { color: var(--soft); } pre { overflow-x: auto; font-size: .85rem; }
.row { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }
.turning { flex: 1 1 480px; height: 480px; border-radius: 4px; overflow: hidden; }
svg text { font: 11px system-ui, sans-serif; fill: currentColor; }
"""


def data_uri(data: bytes, kind: str) -> str:
    """Return bytes as the address of themselves.

    Args:
        data: the content of a file.
        kind: its media type.
    """
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def picture(data: bytes, kind: str, says: str) -> str:
    """Return an image that is inside the page.

    Args:
        data: the content of an image file.
        kind: its media type, see `KINDS`.
        says: what can be seen, for those who do not see it.
    """
    return f'<img src="{data_uri(data, kind)}" alt="{escape(says)}">'


def table(rows: Iterable[tuple[str, object]]) -> str:
    """Return a table of two columns, names and values."""
    cells = (f"<tr><th>{escape(k)}</th><td>{escape(str(v))}</td></tr>" for k, v in rows)
    return f"<table>{''.join(cells)}</table>"


def section(title: str, body: str) -> str:
    """Return a part of a page under a heading; nothing if the part is empty.

    Args:
        title: the heading, plain text.
        body: HTML.
    """
    return f"<section><h2>{escape(title)}</h2>{body}</section>" if body else ""


def page(title: str, body: str) -> str:
    """Return a whole page.

    Args:
        title: plain text.
        body: HTML.
    """
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>{body}</body></html>\n"
    )
