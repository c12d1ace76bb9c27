"""Particles: several objects of one prompt that share all that a step asks of the prior.

They have scenes, seeds and folders of their own and one guidance, whose calls take the images of
all. With VSD that includes the copy of the prior, which then learns the distribution of all the
renderings, as in ProlificDreamer (Wang et al. 2023, arXiv 2305.16213, algorithm 1 with n > 1).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfast._numbers import shown, whole
from dfast.config.checks import check_seed
from dfast.errors import ConfigError
from dfast.io.tensors import write_bytes
from dfast.runs.result import Result
from dfast.runs.several import train_several

PARTICLES = "particles.json"
"""In the folder of the run folders: how different the objects are."""
MOST = 64
"""Most particles."""
VIEWS, RESOLUTION = 8, 64
"""Views around an object that are compared, and the pixels a side of each."""


class Particles(list[Result]):
    """The objects, in the order of their seeds.

    Attributes:
        diversity: mean distance of two objects, see `diversity`; None where the runs were stopped.
    """

    diversity: float | None = None


def check_particles(count: object) -> int:
    """Return a number of particles.

    Raises:
        ConfigError: if it cannot be used.
    """
    number = whole(count)
    if number is None or not 2 <= number <= MOST:
        raise ConfigError(f"particles: expected a number from 2 to {MOST}, got {shown(count)}")
    return number


def train_particles(
    prompt: str,
    count: int,
    *,
    seed: int,
    out: str | Path | None,
    **options: Any,
) -> Particles:
    """Make some objects of one prompt.

    Args:
        prompt: what to make.
        count: how many, see `check_particles`.
        seed: of the first; each has the next one.
        out: folder of the run folders.
        **options: the other arguments of `train_several`.

    Raises:
        RunsFailedError: some runs failed, when the others are done.
    """
    seeds = [check_seed(seed) + i for i in range(check_particles(count))]
    made = train_several([prompt] * count, seed=seeds, out=out, particles=True, **options)
    results = Particles(made)
    if all(result.steps >= result.config.train.steps for result in results):
        distances = pairwise_distances(results)
        results.diversity = diversity(distances)
        if out is not None:
            _write(Path(out) / PARTICLES, results, distances)
    return results


def pairwise_distances(results: Sequence[Result]) -> NDArray[np.float64]:
    """Return how different each two objects look, [K, K], symmetric, 0 on the diagonal.

    The distance is the mean absolute difference of display RGB in [0, 1], over the pixels of
    `VIEWS` views from all around, the same for both: 0 for equal images, 1 for black and white.

    Args:
        results: K objects.
    """
    turn = [360.0 * i / VIEWS for i in range(VIEWS)]
    seen = [
        np.stack([result.render(azimuth=a, resolution=RESOLUTION) for a in turn]).astype(np.float64)
        for result in results
    ]
    distances = np.zeros((len(seen), len(seen)))
    for i, j in combinations(range(len(seen)), 2):
        distances[i, j] = distances[j, i] = np.abs(seen[i] - seen[j]).mean() / 255.0
    return distances


def diversity(distances: NDArray[np.float64]) -> float:
    """Return the mean distance of two different objects, in [0, 1].

    Args:
        distances: [K, K] of K >= 2 objects, see `pairwise_distances`.
    """
    return float(distances[np.triu_indices(len(distances), 1)].mean())


def _write(path: Path, results: Particles, distances: NDArray[np.float64]) -> None:
    """Write how different the objects are, beside their folders."""
    about = {
        "prompt": results[0].prompt,
        "seeds": [result.seed for result in results],
        "folders": [result.folder.name if result.folder else "" for result in results],
        "diversity": results.diversity,
        "distances": distances.round(6).tolist(),
        "views": VIEWS,
        "resolution": RESOLUTION,
    }
    write_bytes(path, (json.dumps(about, indent=2) + "\n").encode())
