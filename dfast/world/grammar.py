"""Read the sentences of the procedural world; imports no torch before a scene is made.

The grammar:

    phrase := solid | solid "on top of" solid | solid "next to" solid | object
    solid  := [a|an|the] [colour] (sphere | cube | cylinder | cone | torus | capsule)
    object := [colour] object-word ["with a" colour part-word]

`read` accepts common synonyms and missing colours. What it returns has the canonical caption, on
which the embedded prior was trained; `parse` makes a `ProceduralScene` of it.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from dfast.errors import PromptError
from dfast.world.objects import OBJECTS, PRIMITIVES, pair, primitive, stack
from dfast.world.parts import COLORS, PLAIN, Part
from dfast.world.refusals import refusal

if TYPE_CHECKING:
    from dfast.world.scenes import ProceduralScene

SYNONYMS: dict[str, str] = {
    "grey": "gray",
    "violet": "purple",
    "turquoise": "cyan",
    "ball": "sphere",
    "orb": "sphere",
    "box": "cube",
    "block": "cube",
    "tube": "cylinder",
    "donut": "torus",
    "doughnut": "torus",
    "ring": "torus",
    "pill": "capsule",
    "cup": "mug",
    "plane": "airplane",
    "aeroplane": "airplane",
    "automobile": "car",
    "desk": "table",
    "home": "house",
    "beside": "next",
    "cap": "hat",
    "atop": "on",
}
HELD_OUT: frozenset[tuple[str, str]] = frozenset(
    {
        ("sphere", "purple"),
        ("cube", "cyan"),
        ("cylinder", "pink"),
        ("cone", "brown"),
        ("torus", "green"),
        ("capsule", "orange"),
        ("chair", "blue"),
        ("table", "red"),
        ("snowman", "yellow"),
        ("house", "green"),
        ("mug", "purple"),
        ("car", "yellow"),
        ("duck", "pink"),
        ("mushroom", "blue"),
        ("tree", "white"),
        ("airplane", "orange"),
        ("lamp", "pink"),
    }
)
"""(noun, colour) pairs that training omits, so that generalisation can be measured."""

_ON = ("on top of", "on")
_ARTICLES = frozenset({"a", "an", "the"})
_RELATIONS = ("on", "top", "of", "next", "to", "with")
_PART_WORDS = ("hat", "roof")
VOCABULARY: tuple[str, ...] = (
    *_ARTICLES.difference({"the"}),
    *_RELATIONS,
    *_PART_WORDS,
    *COLORS,
    PLAIN,
    *PRIMITIVES,
    *OBJECTS,
    "front",
    "side",
    "back",
    "overhead",
    "view",
)
KNOWN = frozenset(VOCABULARY) | _ARTICLES
"""Every word that a sentence may have, beside synonyms."""


class Sentence(NamedTuple):
    """What a sentence names; the entries are those of `ProceduralScene`."""

    caption: str
    """The canonical caption, which states every colour."""
    kind: str
    """"single", "stack", "pair" or "composed"."""
    shape: str
    """The caption without its colour words."""
    parts: tuple[Part, ...]
    slots: tuple[str, ...]
    """Colour words of the caption."""
    has_front: bool
    """Whether the object looks different from the front and from behind."""


def parse(prompt: str) -> ProceduralScene:
    """Return the scene that a sentence names.

    Args:
        prompt: the sentence; case, punctuation and articles do not matter.

    Raises:
        PromptError: if the prompt is empty, has a word outside the vocabulary, or is not a sentence
            of the grammar; the message says what would be one.
    """
    return _scene(read(prompt))


@cache
def _scene(sentence: Sentence) -> ProceduralScene:
    """Return the scene of a sentence; the same one each time, as its tensors take time to make."""
    from dfast.world.scenes import ProceduralScene

    return ProceduralScene(*sentence)


def read(prompt: str) -> Sentence:
    """Return what a sentence names, without torch.

    Args:
        prompt: as for `parse`.

    Raises:
        PromptError: as `parse` does.
    """
    words = words_of(prompt)
    named = [w for w in words if w not in _ARTICLES]
    found = (_read_object(named) or _read_solids(named)) if KNOWN.issuperset(words) else None
    if found is not None:
        return found
    nearest = (*OBJECTS, *PRIMITIVES, *COLORS, *VOCABULARY, *SYNONYMS)
    raise PromptError(refusal(prompt, words, KNOWN, nearest))


def words_of(prompt: str) -> list[str]:
    """Return the words of a sentence in lower case, synonyms replaced."""
    return [SYNONYMS.get(w, w) for w in re.findall(r"[^\W\d_]+", prompt.lower())]


def catalogue(*, both_orders: bool = False) -> list[str]:
    """Return every geometry of the world once, as a canonical caption in default colours.

    Args:
        both_orders: list pairs in both orders. By default they are listed in one, because the other
            is the same object turned around.
    """
    names = list(PRIMITIVES)
    captions = [single(n, "gray") for n in names]
    captions += [stacked(t, "gray", b, "gray") for t in names for b in names]
    for i, a in enumerate(names):
        captions += [beside(a, "gray", b, "gray") for b in names[0 if both_orders else i :]]
    return captions + [composed(n, t.defaults) for n, t in OBJECTS.items()]


def article(phrase: str) -> str:
    """Return a phrase with "a" or "an" before it."""
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def single(name: str, color: str) -> str:
    """Return the caption of one solid."""
    return article(f"{color} {name}")


def stacked(top: str, top_color: str, bottom: str, bottom_color: str) -> str:
    """Return the caption of one solid on another."""
    return f"{single(top, top_color)} on top of {single(bottom, bottom_color)}"


def beside(left: str, left_color: str, right: str, right_color: str) -> str:
    """Return the caption of two solids side by side."""
    return f"{single(left, left_color)} next to {single(right, right_color)}"


def composed(name: str, colors: tuple[str, ...]) -> str:
    """Return the caption of an object of several parts, a colour for each slot of its phrase."""
    return re.sub(r"\ba (?=[aeiou])", "an ", OBJECTS[name].phrase.format(*colors))


def _read_solid(words: list[str]) -> tuple[str, str] | None:
    """Return (solid, colour) of "[colour] solid", None for other words."""
    if len(words) == 1 and words[0] in PRIMITIVES:
        return words[0], "gray"
    if len(words) == 2 and words[0] in COLORS and words[1] in PRIMITIVES:
        return words[1], words[0]
    return None


def _read_solids(words: list[str]) -> Sentence | None:
    """Return the scene of one or two solids, None for other words."""
    text = " ".join(words)
    for kind, joints in (("stack", _ON), ("pair", ("next to", "next"))):
        for joint in joints:
            first, found, second = text.partition(f" {joint} ")
            a, b = _read_solid(first.split()), _read_solid(second.split())
            if found and a and b:
                return _two_solids(kind, a, b)
    solid = _read_solid(words)
    if solid is None:
        return None
    name, color = solid
    part = primitive(name, 0, 1.0, (0, 0, 0))
    return Sentence(single(name, color), "single", name, (part,), (color,), False)


def _two_solids(kind: str, a: tuple[str, str], b: tuple[str, str]) -> Sentence:
    """Return a stack or a pair of two (solid, colour)."""
    if kind == "stack":
        caption, shape, parts = stacked(*a, *b), f"{a[0]} on top of {b[0]}", stack(a[0], b[0])
    else:
        caption, shape, parts = beside(*a, *b), f"{a[0]} next to {b[0]}", pair(a[0], b[0])
    return Sentence(caption, kind, shape, parts, (a[1], b[1]), False)


def _read_object(words: list[str]) -> Sentence | None:
    """Return the scene of "[colour] object ["with" colour part]", None for other words."""
    color, rest = (words[0], words[1:]) if words[:1] and words[0] in COLORS else (None, words)
    if not rest or rest[0] not in OBJECTS:
        return None
    name, tail = rest[0], rest[1:]
    part_color = None
    if tail:
        if len(tail) != 3 or tail[0] != "with" or tail[1] not in COLORS:
            return None
        if not OBJECTS[name].phrase.endswith(f" {tail[2]}"):
            return None
        part_color = tail[1]
    return object_sentence(name, color, part_color)


def object_sentence(
    name: str, color: str | None = None, part_color: str | None = None
) -> Sentence | None:
    """Return a composed object in the given colours, by default its own.

    Args:
        name: a key of `OBJECTS`.
        color: of the first slot.
        part_color: of the last slot.

    Returns:
        What it is, or None if the object has no slot for `color`.
    """
    kind = OBJECTS[name]
    slots = list(kind.defaults)
    if color and len(slots) == 1 and "with" in kind.phrase:
        return None  # such as "a red snowman": snowmen are always white
    slots[0] = color or slots[0]
    slots[-1] = part_color or slots[-1]
    colors = tuple(slots)
    return Sentence(composed(name, colors), "composed", name, kind.parts, colors, kind.has_front)
