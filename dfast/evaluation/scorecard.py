"""Scores as data and as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from dfast.evaluation.surface import SurfaceScore
from dfast.world.sentence import SITUATIONS as KINDS


@dataclass(frozen=True)
class PartScore:
    """The score of what one thing has in one colour."""

    color: str
    """The colour word of the truth."""
    share: float
    """Its share in the truth's surface."""
    accuracy: float
    """Share of it whose colour is right."""
    seen: str
    """The colour word nearest to the median colour seen, "" when most of it is missing."""


@dataclass(frozen=True)
class PatternScore:
    """The score of the pattern of one thing."""

    pattern: str
    """The word of the sentence."""
    accuracy: float
    """Share of the patterned surface whose colour is right."""
    seen: str
    """The pattern that the colours seen show, "none" where there is none."""


@dataclass(frozen=True)
class Score:
    """Everything measured on one result."""

    prompt: str
    kind: str
    """Of the sentence, one of `KINDS`."""
    seed: int | None
    iou: float
    """Best IoU with the truth over yaw, scale, translation and level set."""
    ellipsoid_iou: float
    """What the best-fitting ellipsoid would have got."""
    rank: int
    """Rank of the prompt's own geometry by aligned IoU among those of all nouns and its rivals
    (other counts, sizes, accessories and relations), 1 is first."""
    nearest: str
    """Name of the nearest geometry."""
    albedo: float
    """Share of the truth's surface where the colour seen is right, see `COLOR_TOLERANCE`."""
    colors: float
    """Share of the large regions (of one thing, in one colour) whose median colour is nearest to
    the right word."""
    front_yaw: float | None
    """Degrees in [-180, 180) of the best heading; None for an object without a front, see
    `dfast.evaluation.truths.GroundTruth.has_front`."""
    front: bool | None
    """Whether the best heading over all 360 degrees is near the front; None without a front."""
    empty: bool
    opaque: bool
    hazy: bool
    """These three are explained in `dfast.evaluation.faults.Faults`."""
    collapsed: bool
    """Whether the result is empty, opaque, flat or nowhere near the truth."""
    haze: float
    """Mean opacity beside the object."""
    surface: SurfaceScore | None = None
    """Of the exported mesh; None where nothing could be exported."""
    seconds: float | None = None
    """Time of training, where it is known."""
    count: bool | None = None
    """Whether the stated number fits better than other numbers of the same thing. This and the
    next two compare IoU with that of rivals (`dfast.evaluation.rivals`), and are None where the
    sentence has no such attribute, or none that changes the shape."""
    size: bool | None = None
    """Whether the stated sizes fit better than none and the opposite ones. "Big" and "small" are
    judged beside another thing only."""
    relation: bool | None = None
    """Whether the stated relation and order fit better than all others of the same two things;
    those that differ by a turn alone are told apart by `front`."""
    worn: bool | None = None
    """Whether what is worn is there, rather than nothing or other things worn; see
    `dfast.evaluation.worn`."""
    parts: tuple[PartScore, ...] = field(default=())
    patterns: tuple[PatternScore, ...] = field(default=())
    """Of each thing that has one."""

    @property
    def pattern(self) -> float | None:
        """Return the share of the patterned surface whose colour is right; None without any."""
        return _mean(p.accuracy for p in self.patterns)

    @property
    def pattern_read(self) -> float | None:
        """Return the share of the patterns that the colours show; None without any."""
        return _mean(p.seen == p.pattern for p in self.patterns)

    @property
    def beats_ellipsoid(self) -> bool:
        """Return whether the shape is better than the best ellipsoid."""
        return self.iou > self.ellipsoid_iou

    @property
    def attributes(self) -> list[str]:
        """Return the attributes of the sentence and the words of its patterns, wrong ones as "not
        count"."""
        judged = {name: getattr(self, name) for name in ("count", "size", "relation", "worn")}
        found = [(name, right) for name, right in judged.items() if right is not None]
        found += [(p.pattern, p.seen == p.pattern) for p in self.patterns]
        return [name if right else f"not {name}" for name, right in found]

    @property
    def faults(self) -> list[str]:
        """Return the names of the faults found."""
        return [name for name in ("empty", "opaque", "hazy", "collapsed") if getattr(self, name)]


Means = dict[str, float | int | None]
"""Means of scores by column."""


def summary(scores: Sequence[Score]) -> dict[str, Means]:
    """Return the means of each kind that is present, and of "all"."""
    kinds = [kind for kind in KINDS if any(s.kind == kind for s in scores)]
    means = {kind: _means([s for s in scores if s.kind == kind]) for kind in kinds}
    return {**means, "all": _means(scores)}


def as_dict(scores: Sequence[Score], **about: Any) -> dict[str, Any]:
    """Return JSON values: `about` (versions, device), the means by kind and every score."""
    return {**about, "summary": summary(scores), "scores": [asdict(s) for s in scores]}


def table(scores: Sequence[Score]) -> str:
    """Return a text table: one line a result, then the means by kind."""
    head = [
        "prompt",
        "seed",
        "IoU",
        "ellipsoid",
        "rank",
        "albedo",
        "colors",
        "front",
        "normals",
        "steep",
        "chamfer",
        "F",
        "far",
        "s",
    ]
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
            *_surface_cells(s.surface),
            _cell(s.seconds, 0),
            ", ".join(s.attributes),
            " ".join(s.faults),
        )
        for s in scores
    ]
    means = summary(scores)
    columns = [name for name, mean in means["all"].items() if mean is not None]
    average = [
        (kind, *(_cell(m[c], 0 if c == "seconds" else 2) for c in columns))
        for kind, m in means.items()
    ]
    lines = _layout([(*head, "attributes", "faults"), *rows])
    return f"{lines}\n\n{_layout([('mean', *columns), *average])}"


def _means(scores: Sequence[Score]) -> Means:
    """Return means and counts over some scores; a mean over no value is None."""

    return {
        "runs": len(scores),
        "iou": _mean(s.iou for s in scores),
        "ellipsoid": _mean(s.ellipsoid_iou for s in scores),
        "above": _mean(s.beats_ellipsoid for s in scores),
        "top1": _mean(s.rank <= 1 for s in scores),
        "top3": _mean(s.rank <= 3 for s in scores),
        "albedo": _mean(s.albedo for s in scores),
        "colors": _mean(s.colors for s in scores),
        "front": _mean(s.front for s in scores),
        **{
            name: _mean(getattr(s, name) for s in scores)
            for name in ("count", "size", "relation", "worn", "pattern", "pattern_read")
        },
        **{
            name: _mean(getattr(s.surface, name) for s in scores if s.surface is not None)
            for name in ("normals", "steep", "edges", "chamfer", "f_score", "far")
        },
        "collapsed": sum(s.collapsed for s in scores),
        "hazy": sum(s.hazy for s in scores),
        "seconds": _mean(s.seconds for s in scores),
    }


def _mean(values: Iterable[float | bool | None]) -> float | None:
    """Return the mean of the values that are not None, None of none."""
    known = [float(v) for v in values if v is not None]
    return sum(known) / len(known) if known else None


def _surface_cells(s: SurfaceScore | None) -> tuple[str, ...]:
    """Return the cells of a mesh: degrees, percent, percent of the radius, fraction, percent."""
    if s is None:
        return ("-",) * 5
    steep, far = ("-" if v is None else f"{100 * v:.1f}%" for v in (s.steep, s.far))
    return _cell(s.normals, 1), steep, _cell(s.chamfer), _cell(s.f_score), far


def _cell(value: float | int | None, digits: int = 2) -> str:
    """Return a number as text, "-" for None."""
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.{digits}f}"


def _shorten(text: str, length: int) -> str:
    """Return text of at most `length` characters."""
    return text if len(text) <= length else text[: length - 3] + "..."


def _layout(rows: Sequence[Sequence[str]]) -> str:
    """Align rows in columns, the first to the left, with a rule below the first row."""
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
