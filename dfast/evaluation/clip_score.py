"""Score objects by CLIPs: render the views that the metrics need once, ask every CLIP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from dfast.clip import ClipEncoder
from dfast.evaluation import clip_metrics
from dfast.evaluation.clip_report import ClipScore
from dfast.evaluation.clip_views import (
    DREAM_FIELDS,
    DREAMFUSION_COLOR,
    DREAMFUSION_GEOMETRY,
    JANUS,
    Views,
    icosphere,
    t3bench,
)

METRICS = ("r-precision", "similarity", "janus", "t3bench")
"""What can be measured; the last takes 810 images of an object."""
RETRIEVAL = (DREAMFUSION_COLOR, DREAMFUSION_GEOMETRY, DREAM_FIELDS)
"""Views of R-Precision."""


@dataclass(frozen=True)
class Subject:
    """An object to score."""

    name: str
    prompt: str
    kind: str
    """"run" or "mesh" """
    seed: int | None
    render: Callable[[Views], Tensor]
    """returns [C F, 3, H, W] display RGB in [0, 1]"""


def views_of(metrics: Sequence[str]) -> list[Views]:
    """Return the views that metrics need, in the order in which they are rendered.

    Args:
        metrics: some of `METRICS`.
    """
    needed = {
        "r-precision": RETRIEVAL,
        "similarity": (DREAMFUSION_COLOR,),
        "janus": (JANUS,),
        "t3bench": (t3bench(),),
    }
    return list(dict.fromkeys(views for metric in metrics for views in needed[metric]))


class Judge:
    """A CLIP with the embeddings of all prompts."""

    def __init__(self, clip: ClipEncoder, prompts: Sequence[str]) -> None:
        """Bind to what is compared; texts are encoded when they are needed.

        Args:
            clip: the encoder.
            prompts: among which objects are retrieved.
        """
        self.clip, self.prompts = clip, [clip_metrics.normalized(prompt) for prompt in prompts]

    @cached_property
    def texts(self) -> Tensor:
        """The embeddings of all prompts, [N, D]."""
        return self.clip.encode_text(self.prompts)

    @torch.no_grad()
    def score(self, subject: Subject, seen: dict[str, Tensor], metrics: Sequence[str]) -> ClipScore:
        """Return the scores of an object.

        Args:
            subject: the object.
            seen: its images [V, 3, H, W] by the name of their views, those of `views_of(metrics)`.
            metrics: some of `METRICS`.
        """
        own = self.prompts.index(clip_metrics.normalized(subject.prompt))
        images = {name: self.clip.encode_images(shown) for name, shown in seen.items()}
        text = self.texts[own]
        found: dict[str, Any] = {}
        if "r-precision" in metrics and len(self.prompts) > 1:
            found["r_precision"] = {
                views.name: clip_metrics.r_precision(images[views.name], self.texts, own)
                for views in RETRIEVAL
            }
        if "similarity" in metrics:
            found["similarity"] = clip_metrics.similarity(images[DREAMFUSION_COLOR.name], text)
        if "t3bench" in metrics:
            cosines = (images[t3bench().name] @ text).view(len(t3bench().fovs), -1)
            neighbours = icosphere()[1].to(cosines.device)
            found["t3bench"] = clip_metrics.t3bench_quality(cosines, neighbours)
        if "janus" in metrics:
            words = self.clip.encode_text(clip_metrics.view_texts(subject.prompt))
            found["janus"] = clip_metrics.janus(images[JANUS.name], words, JANUS.azimuths)
        return ClipScore(
            object=subject.name,
            kind=subject.kind,
            prompt=subject.prompt,
            seed=subject.seed,
            clip=self.clip.name,
            **found,
        )


def score_with_clips(
    subjects: Sequence[Subject],
    clips: Sequence[ClipEncoder],
    prompts: Sequence[str],
    metrics: Sequence[str],
) -> Iterator[list[ClipScore]]:
    """Iterate over the scores of every object, one for each CLIP.

    Args:
        subjects: the objects.
        clips: which judge them.
        prompts: among which they are retrieved, those of the objects included.
        metrics: some of `METRICS`.
    """
    judges = [Judge(clip, prompts) for clip in clips]
    for subject in subjects:
        seen = {views.name: subject.render(views) for views in views_of(metrics)}
        yield [judge.score(subject, seen, metrics) for judge in judges]
