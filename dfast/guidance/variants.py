"""The variants of score distillation, as a table: what each needs of the prior, and its direction.

A new variant is one entry of `VARIANTS`. The formulas are in `dfast.guidance.sds`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from dfast.config import GuidanceConfig
from dfast.guidance import sds
from dfast.guidance.base import GuidanceBatch
from dfast.priors.base import Condition
from dfast.priors.diffusion import (
    add_noise,
    classifier_free_guidance,
    ddim_step,
)
from dfast.scene.views import perp_neg_weights

NFSD_NEGATIVE_PROMPT = (
    "unrealistic, blurry, low quality, out of focus, ugly, low contrast, dull, dark, "
    "low-resolution, gloomy"
)
"""The prompt of Katzir et al. 2023 (NFSD) for images outside the domain of natural ones."""
NFSD_LOW_NOISE = 0.2
"""Fraction of the timesteps below which NFSD treats the noise as low."""
PERP_NEG: tuple[Condition, ...] = ("perp_neg_front", "perp_neg_side")


class Predictor(Protocol):
    """Evaluates the prior, see `dfast.priors.Prior.predict_noise`."""

    def __call__(self, noisy: Tensor, t: Tensor, conditions: tuple[Condition, ...]) -> Tensor:
        """Return the noise predicted in `noisy` [B,C,h,w] at t [B], [len(conditions),B,C,h,w]."""
        ...


@dataclass(frozen=True)
class Distillation:
    """What a variant may use to compute its direction for one batch of encoded images."""

    x: Tensor
    """[B, C, h, w] what the prior diffuses, without a graph"""
    batch: GuidanceBatch
    config: GuidanceConfig
    schedule: tuple[Tensor, Tensor]
    """(alpha [T], sigma [T])"""
    generators: Sequence[torch.Generator]
    """draw the noise, each that of an equal share of the images, in their order"""
    evaluate: Predictor
    guide: Callable[[Tensor], Tensor] | None = None
    """(1 + w) eps_c - w eps_u of noisy images at t, where one evaluation gives it"""
    rendered: Callable[[Tensor], Tensor] | None = None
    """eps_phi of noisy images at t: the noise that a model of the renderings predicts"""
    joint_views: int = 1
    """of the prior"""

    def add_noise(self) -> tuple[Tensor, Tensor]:
        """Return (z_t, eps): x with noise of the level of the batch, and the drawn noise."""
        own, shares = self.batch.share
        shape = (shares, len(self.x) // len(self.generators), *self.x.shape[1:])
        noise = torch.cat(
            [torch.randn(shape, generator=g, device=self.x.device)[own] for g in self.generators]
        )
        return add_noise(self.x, noise, self.batch.alpha, self.batch.sigma), noise

    def predict(self, noisy: Tensor) -> list[Tensor]:
        """Return the predictions at t, [B, C, h, w] each, under the conditions of the variant.

        They come from one evaluation of the prior. With `config.perp_neg` the first, which is that
        of the prompt, is moved away from the prompts of other views.
        """
        predicted = list(self.evaluate(noisy, self.batch.t, conditions_of(self.config)))
        if self.config.perp_neg:
            *predicted, front, side = predicted
            cameras = self.batch.cameras
            weights = perp_neg_weights(cameras.azimuth, cameras.elevation)
            text, base = predicted[:2]
            predicted[0] = sds.perp_neg(text, base, torch.stack([front, side]), weights)
        return predicted

    def guided(self, noisy: Tensor) -> Tensor:
        """Return (1 + w) eps_c - w eps_u at t, [B, C, h, w]."""
        if self.guide is not None:
            return self.guide(noisy)
        text, base = self.predict(noisy)
        guided = classifier_free_guidance(text, base, self.config.guided_scale)
        part, level = self.config.rescale, (self.batch.alpha, self.batch.sigma)
        if part == 0:
            return guided
        return sds.rescaled(guided, text, noisy, level, part, self.joint_views)

    def level(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return (alpha [B], sigma [B]) at timesteps t [B]."""
        alpha, sigma = self.schedule
        return alpha[t], sigma[t]


@dataclass(frozen=True)
class Variant:
    """A method of score distillation.

    Attributes:
        direction: computes the gradient before its weight w(t), [B, C, h, w].
        conditions: what `Distillation.predict` evaluates. The first is the prompt, the second what
            guidance moves away from.
        with_negative: evaluated as well if there is a negative prompt.
        alone: evaluated in calls of their own, by `Distillation.evaluate`.
        calls_alone: how many such calls a step makes; for estimates of its cost.
        negative_prompt: used where the configuration has none.
        guided: whether its two conditions are only needed as guided noise.
        needs_signal: whether it divides by the signal level, which must not be 0 then.
    """

    direction: Callable[[Distillation], Tensor]
    conditions: tuple[Condition, ...]
    with_negative: tuple[Condition, ...] = ()
    alone: tuple[Condition, ...] = ()
    calls_alone: Callable[[GuidanceConfig], int] = lambda config: 0
    negative_prompt: str = ""
    guided: bool = False
    needs_signal: bool = False


def _sds(step: Distillation) -> Tensor:
    noisy, noise = step.add_noise()
    return sds.sds(step.guided(noisy), noise)


def _csd(step: Distillation) -> Tensor:
    noisy, _ = step.add_noise()
    text, null, *negative = step.predict(noisy)
    base = negative[0] if negative else null
    return sds.csd(text, null, base, step.config.scale, step.batch.negative_weight)


def _nfsd(step: Distillation) -> Tensor:
    noisy, _ = step.add_noise()
    text, null, negative = step.predict(noisy)
    high_noise = step.batch.t >= NFSD_LOW_NOISE * len(step.schedule[0])
    return sds.nfsd(text, null, negative, high_noise, step.config.scale)


def _ism(step: Distillation) -> Tensor:
    noisy, inverted = _invert(step)
    return sds.ism(step.guided(noisy), inverted)


def _rfds(step: Distillation) -> Tensor:
    noisy, noise = step.add_noise()
    return _velocity_error(step, noisy, noise)


def _rfds_rev(step: Distillation) -> Tensor:
    """Return RFDS at the noise that the prior itself finds in a first noisy version of x."""
    noisy, _ = step.add_noise()
    (noise,) = step.evaluate(noisy, step.batch.t, ("text",))
    noisy = add_noise(step.x, noise, step.batch.alpha, step.batch.sigma)
    return _velocity_error(step, noisy, noise)


def _velocity_error(step: Distillation, noisy: Tensor, noise: Tensor) -> Tensor:
    return sds.rfds(step.guided(noisy), noise, (step.batch.alpha, step.batch.sigma))


def _vsd(step: Distillation) -> Tensor:
    noisy, _ = step.add_noise()
    assert step.rendered is not None, "VSD needs a model of the renderings"
    return sds.vsd(step.guided(noisy), step.rendered(noisy))


def _invert(step: Distillation) -> tuple[Tensor, Tensor]:
    """Return ISM's (x_t, eps_0(x_s)): DDIM inversion of x without words to s < t, then on to t.

    On the levels of a flow the steps are Euler steps.
    """
    t, steps = step.batch.t, step.config.inversion_steps
    interval = max(1, round(step.config.delta_t * len(step.schedule[0])))
    s = (t - interval).clamp(min=0)
    path = [s * i // steps for i in range(steps + 1)] + [t]
    noisy = predicted = step.x  # at level 0 an image counts as its own noisy version
    for start, end in pairwise(path):
        predicted = step.evaluate(noisy, start, ("null",))[0]
        noisy = ddim_step(noisy, predicted, step.level(start), step.level(end))
    return noisy, predicted


VARIANTS: dict[str, Variant] = {
    "sds": Variant(_sds, ("text", "negative"), guided=True),
    "csd": Variant(_csd, ("text", "null"), with_negative=("negative",)),
    "nfsd": Variant(_nfsd, ("text", "null", "negative"), negative_prompt=NFSD_NEGATIVE_PROMPT),
    "ism": Variant(
        _ism,
        ("text", "negative"),
        alone=("null",),
        calls_alone=lambda config: config.inversion_steps + 1,
        guided=True,
    ),
    "rfds": Variant(_rfds, ("text", "negative"), guided=True, needs_signal=True),
    "rfds_rev": Variant(
        _rfds_rev,
        ("text", "negative"),
        alone=("text",),
        calls_alone=lambda config: 1,
        guided=True,
        needs_signal=True,
    ),
    # The copy predicts once, and once more with a backward pass, which is two calls' work.
    "vsd": Variant(_vsd, ("text", "negative"), calls_alone=lambda config: 4, guided=True),
}
"""By the name in `guidance.variant`."""


def is_one_call(config: GuidanceConfig, largest_scale: float) -> bool:
    """Return whether a prior's distilled guidance replaces its two predictions.

    Args:
        config: of the guidance.
        largest_scale: of the prior.
    """
    plain = VARIANTS[config.variant].guided and not config.negative and not config.perp_neg
    plain = plain and config.rescale == 0
    return plain and 0 < config.guided_scale <= largest_scale


def conditions_of(config: GuidanceConfig, largest_scale: float = 0.0) -> tuple[Condition, ...]:
    """Return the conditions under which a step evaluates the prior together.

    Args:
        config: of the guidance.
        largest_scale: of the prior.
    """
    variant = VARIANTS[config.variant]
    if is_one_call(config, largest_scale):
        return variant.conditions[:1]
    negative = variant.with_negative if config.negative else ()
    return variant.conditions + negative + (PERP_NEG if config.perp_neg else ())
