"""Print random sentences of the procedural world, one a line.

    python benchmarks/draw_sentences.py 100 --seed 1 > prompts.txt
    dfast evaluate --prompts prompts.txt

They are of all kinds, with the shares that the embedded prior's training has.
"""

from __future__ import annotations

import argparse

from dfast.world.random_sentences import draw_sentences


def main() -> None:
    """Print the sentences."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("count", type=int, help="how many, all different")
    parser.add_argument("--seed", type=int, default=0, help="other numbers give others")
    options = parser.parse_args()
    for sentence in draw_sentences(options.count, options.seed):
        print(sentence.text())


if __name__ == "__main__":
    main()
