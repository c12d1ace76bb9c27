"""The page of a report and its curves, from facts that are given."""

from __future__ import annotations

import re

import numpy as np
import pytest
from html_pages import Page

from dfast.io.images import encode_png
from dfast.pages.curves import chart, charts
from dfast.pages.report import Facts, Picture, report_page

ROWS = [{"step": 10.0 * i, "opacity": 0.1 * i, "gradient_norm": 10.0**-i} for i in range(1, 6)]
NASTY = "<script>alert(\"1\")</script> & 'quotes'"


def points(svg: str) -> np.ndarray:
    """Return the corners of a curve, [N, 2] in pixels."""
    found = re.findall(r'points="([^"]*)"', svg)
    return np.array([[float(v) for v in pair.split(",")] for pair in found[0].split()])


def test_a_report_shows_all_facts_and_escapes_what_people_wrote() -> None:
    image = encode_png(np.zeros((4, 6, 3), np.uint8))
    facts = Facts(
        prompt=NASTY,
        run=[("seed", 7)],
        times=[("each step", "2 s")],
        versions=[("torch", "2.13")],
        scores=[("iou", "0.961")],
        pictures=[Picture(image, "image/png", NASTY)],
        previews=[Picture(image, "image/png", "step 8")],
        glb=b"glTF",
        metrics=ROWS,
        settings="[guidance]\nnegative = '</pre>'",
    )
    html = report_page(facts)
    page = Page(html)
    assert page.loads() == [] and NASTY not in html and NASTY in page.text
    assert len(page.named("script")) == 3  # those of the object
    assert page.named("img")[0]["alt"] == NASTY
    assert [image.size for image in page.images()] == [(6, 4), (6, 4)]
    for told in ("seed7", "each step2 s", "torch2.13", "iou0.961", "step 8", "negative = '</pre>'"):
        assert told in page.text
    assert len(page.named("svg")) == 2


def test_what_is_not_known_leaves_no_heading() -> None:
    page = Page(report_page(Facts("a ball")))
    assert page.text.count("a ball") == 2  # title and heading
    assert not page.named("h2") and not page.named("iframe") and not page.named("svg")


def test_a_curve_rises_where_its_values_do() -> None:
    curve = points(chart([(0, 1.0), (1, 2.0), (3, 4.0)], "x", "step"))
    assert np.all(np.diff(curve[:, 0]) > 0) and np.all(np.diff(curve[:, 1]) < 0)  # y grows down
    steps = np.diff(curve[:, 0])
    assert steps[1] == pytest.approx(2 * steps[0], abs=0.2)


def test_a_curve_over_decades_is_logarithmic() -> None:
    svg = chart([(i, 10.0**-i) for i in range(5)], "gradient", "step")
    assert "logarithmic" in svg
    assert np.ptp(np.diff(points(svg)[:, 1])) < 0.21
    assert "logarithmic" not in chart([(0, 0.0), (1, 100.0)], "gradient", "step")


def test_curves_of_one_point_or_none_are_left_out() -> None:
    assert charts(ROWS[:1], {"opacity": "x"}, "step") == ""
    assert charts(ROWS, {"haze": "x"}, "step") == ""
    broken = [*ROWS, {"step": 60.0, "opacity": float("nan")}]
    assert len(points(charts(broken, {"opacity": "x"}, "step"))) == 5
    flat = points(chart([(0, 2.0), (1, 2.0)], "x", "step"))
    assert np.isfinite(flat).all() and flat[0, 1] == flat[1, 1]


def test_long_curves_stay_small() -> None:
    many = [(float(i), float(i % 7)) for i in range(100_000)]
    assert len(chart(many, "x", "step")) < 20_000
