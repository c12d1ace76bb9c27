"""Make dfast/world/isa.txt.gz: which words of WordNet 3.0 name a kind of a thing of the world.

    apt-get download wordnet-base=1:3.0-37 && dpkg -x wordnet-base_*.deb wordnet
    python benchmarks/wordnet/make_table.py wordnet/usr/share/wordnet

A word gets the thing that is nearest above its first meaning. Beside this file: roots.txt, the
meanings of the things (lemma.sense); people.txt, the only words of people; excluded.txt, words
that would surprise; added.txt, what WordNet lacks. Words of two parts are joined by "_"; most of
them end in a word that means the same thing. The table begins with the notice of WordNet.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from dfast.world.nouns import NOUNS
from dfast.world.parts import ALL_COLORS
from dfast.world.sentence import PATTERNS, RELATIONS, SIZES, WORN, vocabulary
from dfast.world.synonyms import PHRASES, SHADES, SYNONYMS

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
TABLE = ROOT / "dfast" / "world" / "isa.txt.gz"
NOTICE = ROOT / "licenses" / "WordNet-3.0.txt"
SHA256 = {
    "data.noun": "fea17d2f9656611334eac790e5d69e47645fa180c4aa481fb4cd9b3520754ca2",
    "index.noun": "a490d99d93d017bf4822fe2f0ffa51fd73911ce271dc7535fade21f8814b5a04",
}
"""Of the files of the Debian package wordnet-base 1:3.0-37."""
LIVING, SUBSTANCE = ("05", "20"), "27"
"""Lexicographer files of animals, plants and substances."""
RUDE = re.compile(
    r"slur|offensive|derogat|disparag|vulgar|obscen|taboo|prostitut|ethnic|genital|feces|defecat"
)
"""What the definitions of words say that must not be in the table."""
SAID = {*ALL_COLORS, *SIZES, *PATTERNS}
"""What can be said of a thing."""
OFTEN = 1
"""Times that a word of two parts is used in WordNet's own texts if it ends in another word."""

ONE_WORD = frozenset({"leaf", "baby"})
"""Things whose kinds of two words are terms of botany and medicine."""


@dataclass(frozen=True)
class Synset:
    """A meaning of WordNet."""

    file: str
    """Number of its lexicographer file."""
    words: tuple[str, ...]
    """As they are spelled; names begin with a capital letter."""
    above: tuple[str, ...]
    """Offsets of the more general meanings."""
    is_name: bool
    """Whether it is an instance, such as a person."""
    gloss: str


def main() -> None:
    """Write the table and say how large it is."""
    parser = argparse.ArgumentParser(description="Make the table of kinds of things.")
    parser.add_argument("folder", type=Path, help="with data.noun and index.noun")
    folder = parser.parse_args().folder
    for name, digest in SHA256.items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            raise SystemExit(f"{name}: another version; wordnet-base 1:3.0-37 is expected")
    kinds = table(read_synsets(folder / "data.noun"), *read_index(folder / "index.noun"))
    rows = defaultdict(list)
    for word, noun in sorted(kinds.items()):
        rows[noun].append(word)
    notice = "".join(f"# {line}\n" for line in NOTICE.read_text(encoding="utf-8").splitlines())
    text = notice + "".join(f"{noun}: {' '.join(words)}\n" for noun, words in sorted(rows.items()))
    TABLE.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{len(kinds)} words of {len(rows)} things, {TABLE.stat().st_size} bytes")


def read_synsets(path: Path) -> dict[str, Synset]:
    """Return the meanings of data.noun by their offsets."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("  "):
            continue
        fields, gloss = line.split(" | ", 1)
        f = fields.split()
        words = int(f[3], 16)
        start = 5 + 2 * words
        pointers = [f[start + 4 * i : start + 4 * i + 2] for i in range(int(f[start - 1]))]
        above = tuple(offset for kind, offset in pointers if kind == "@")
        is_name = any(kind == "@i" for kind, _ in pointers)
        found[f[0]] = Synset(f[1], tuple(f[4 : start - 1 : 2]), above, is_name, gloss)
    return found


def read_index(path: Path) -> tuple[dict[str, list[str]], dict[str, int]]:
    """Return the meanings of each word, commonest first, and how many of them its texts use."""
    senses, used = {}, {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("  "):
            f = line.split()
            count = int(f[2])
            senses[f[0]], used[f[0]] = f[-count:], int(f[-count - 1])
    return senses, used


def table(
    synsets: dict[str, Synset], senses: dict[str, list[str]], used: dict[str, int]
) -> dict[str, str]:
    """Return the thing of each word that the table has."""
    roots = {senses[w][int(n) - 1]: noun for noun, w, n in read_roots()}
    known = {*vocabulary(), *SYNONYMS, *SHADES, *(p.replace(" ", "_") for p in PHRASES)}
    joints = {word for relation in RELATIONS for word in relation.split()}
    excluded, people = read_words("excluded.txt"), read_words("people.txt")
    found = {}
    for word, offsets in senses.items():
        if re.fullmatch(r"[a-z]{3,}(_[a-z]{3,})?", word) and word not in known | excluded:
            sense = first_sense(word, offsets, synsets)
            noun = nearest_root(sense, synsets, roots) if sense else None
            if noun is not None and (noun != "person" or word in people):
                found[word] = noun
    for word in [w for w in found if "_" in w]:
        first, last = word.split("_")
        alike = found[word] in (last, found.get(last), SYNONYMS.get(last))
        common = alike or used[word] >= OFTEN or word in people
        if first in known | joints or not common or found[word] in ONE_WORD:
            del found[word]
    for line in lines("added.txt"):
        noun, words = line.split(": ")
        assert noun in NOUNS or noun in WORN, noun
        # "a red panda" is a panda that is red: what a word can say of a thing begins no kind.
        assert {w.split("_")[0] for w in words.split() if "_" in w}.isdisjoint(SAID), line
        found.update({w: noun for w in words.split() if w not in known})
    return found


def first_sense(word: str, offsets: list[str], synsets: dict[str, Synset]) -> str | None:
    """Return the first meaning of a word that is neither a name nor rude.

    A plant or animal comes before the substance that it is made into, such as the wood of an oak.
    """
    for offset in offsets:
        synset = synsets[offset]
        if synset.is_name:
            continue
        if synset.file == SUBSTANCE and any(synsets[o].file in LIVING for o in offsets):
            continue
        common = word in synset.words  # else it is spelled with a capital letter
        return offset if common and not RUDE.search(synset.gloss) else None
    return None


def nearest_root(offset: str, synsets: dict[str, Synset], roots: dict[str, str]) -> str | None:
    """Return the thing whose meaning is the nearest above a meaning."""
    level, seen = [offset], {offset}
    while level:
        for here in level:
            if here in roots:
                return roots[here]
        above = [o for here in level for o in synsets[here].above]
        level = [o for o in dict.fromkeys(above) if o not in seen]
        seen.update(level)
    return None


def lines(name: str) -> list[str]:
    """Return the lines of a file beside this one, comments left out."""
    text = (HERE / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def read_words(name: str) -> set[str]:
    """Return the words of a file beside this one."""
    return {word for line in lines(name) for word in line.split()}


def read_roots() -> list[tuple[str, str, str]]:
    """Return the rows of roots.txt: thing, lemma, number of the meaning."""
    rows = [line.split(": ") for line in lines("roots.txt")]
    return [(noun, *ref.rsplit(".", 1)) for noun, refs in rows for ref in refs.split()]  # type: ignore[misc]


if __name__ == "__main__":
    main()
