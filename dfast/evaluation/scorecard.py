"""Scores as data, and as a table that people read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

KINDS = ("single", "stack", "pair", "composed")


@dataclass(frozen=True)
class PartScore:
    """One part of a scene: its colour word, its share of the surface, the share of it within
    tolerance, and the colour word seen ("" when most of the part is missing).
    """

    color: str
    share: float
    accuracy: float
    seen: str


@dataclass(frozen=True)
class Score:
    """Everything measured on one result; `dfast.evaluation.score` says what each number means."""

    prompt: str
    kind: str
    seed: int | None
    iou: float
    ellipsoid_iou: float
    rank: int
    nearest: str
    albedo: float
    colors: float
    front_yaw: float | None  # degrees in [-180, 180), of the best heading; None without a front
    front: bool | None
    empty: bool
    opaque: bool
    hazy: bool
    collapsed: bool
    haze: float  # mean opacity beside the object
    seconds: float | None = None  # of training, where known
    parts: tuple[PartScore, ...] = field(default=())

    @property
    def beats_ellipsoid(self) -> bool:
        """Whether the shape is better than the best ellipsoid."""
        return self.iou > self.ellipsoid_iou

    @property
    def faults(self) -> list[str]:
        """Names of the flags that are set."""
        return [name for name in ("empty", "opaque", "hazy", "collapsed") if getattr(self, name)]


Means = dict[str, float | int | None]


def summary(scores: Sequence[Score]) -> dict[str, Means]:
    """Means by kind ("single", "stack", "pair", "composed", those present) and over "all"."""
    kinds = [kind for kind in KINDS if any(s.kind == kind for s in scores)]
    means = {kind: _means([s for s in scores if s.kind == kind]) for kind in kinds}
    return {**means, "all": _means(scores)}


def as_dict(scores: Sequence[Score], **about: Any) -> dict[str, Any]:
    """JSON-ready: ``about`` (versions, device ...), the means by kind and every score."""
    return {**about, "summary": summary(scores), "scores": [asdict(s) for s in scores]}


def table(scores: Sequence[Score]) -> str:
    """A text table: one line a result, then the means by kind."""
    head = (
        "prompt",
        "seed",
        "IoU",
        "ellipsoid",
        "rank",
        "albedo",
        "colors",
        "front",
        "s",
        "faults",
    )
    rows = [
        (
            _shorten(s.prompt, 52),
            _cell(s.seed),
            _cell(s.iou),
            _cell(s.ellipsoid_iou),
            _cell(s.rank),
            _cell(s.albedo),
            _cell(s.colors),
            "-" if s.front is None else "yes" if s.front else "no",
            _cell(s.seconds, 0),
            " ".join(s.faults),
        )
        for s in scores
    ]
    means = summary(scores)
    columns = list(means["all"])
    average = [
        (kind, *(_cell(m[c], 0 if c == "seconds" else 2) for c in columns))
        for kind, m in means.items()
    ]
    return f"{_layout([head, *rows])}\n\n{_layout([('mean', *columns), *average])}"


def _means(scores: Sequence[Score]) -> Means:
    def mean(values: Iterable[float | bool | None]) -> float | None:
        known = [float(v) for v in values if v is not None]
        return sum(known) / len(known) if known else None

    return {
        "runs": len(scores),
        "iou": mean(s.iou for s in scores),
        "ellipsoid": mean(s.ellipsoid_iou for s in scores),
        "above": mean(s.beats_ellipsoid for s in scores),
        "top1": mean(s.rank <= 1 for s in scores),
        "top3": mean(s.rank <= 3 for s in scores),
        "albedo": mean(s.albedo for s in scores),
        "colors": mean(s.colors for s in scores),
        "front": mean(s.front for s in scores),
        "collapsed": sum(s.collapsed for s in scores),
        "hazy": sum(s.hazy for s in scores),
        "seconds": mean(s.seconds for s in scores),
    }


def _cell(value: float | int | None, digits: int = 2) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.{digits}f}"


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


def _layout(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, the first one to the left, a rule below the head."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
