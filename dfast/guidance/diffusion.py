"""From pictures to the gradient that a diffusion model sends back to them.

What the variants compute is in `sds`; here is which predictions each of them needs, and how they
are asked for.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from dfast.config import GuidanceConfig
from dfast.errors import ConfigError
from dfast.guidance import sds
from dfast.priors.base import Condition, Prior
from dfast.priors.diffusion import add_noise, ddim_step
from dfast.scene.views import perp_neg_weights

if TYPE_CHECKING:
    from dfast.training.step_inputs import StepInputs

BAD_PICTURES = (
    "unrealistic, blurry, low quality, out of focus, ugly, low contrast, dull, dark, "
    "low-resolution, gloomy"
)
"""NFSD's sentence for pictures outside the domain (Katzir et al. 2023)."""
LATE = 0.2
"""NFSD: fraction of the timesteps below which the noise is low."""
PERP_NEG: tuple[Condition, ...] = ("perp_neg_front", "perp_neg_side")


def conditions_of(config: GuidanceConfig) -> tuple[Condition, ...]:
    """What the noised picture is asked under; "text" comes first, its opposite second."""
    asked: dict[str, tuple[Condition, ...]] = {
        "sds": ("text", "negative"),
        "csd": ("text", "null", "negative") if config.negative else ("text", "null"),
        "nfsd": ("text", "null", "negative"),
        "ism": ("text", "negative"),
    }
    return asked[config.variant] + (PERP_NEG if config.perp_neg else ())


class Guidance:
    """A prior that has read the prompt, under one configuration.

    Attributes:
        cuda_graph_safe: whether `model_space` and `gradient` may be recorded.
    """

    def __init__(
        self, config: GuidanceConfig, prior: Prior, prompt: str, device: torch.device
    ) -> None:
        """Reads the texts, then has the prior load what the steps need.

        Raises ConfigError for a configuration that this prior cannot serve.
        """
        self.config, self.prior, self.device = config, prior, device
        self.cuda_graph_safe = bool(getattr(prior, "cuda_graph_safe", False))
        self._encode = getattr(prior, "encode", None)
        self._check(getattr(prior, "conditions", ("text", "negative", "null")))
        self.alpha, self.sigma = prior.noise_schedule(device)
        negative = config.negative or (BAD_PICTURES if config.variant == "nfsd" else "")
        self._condition = prior.encode_prompt(prompt, views=config.view_words, negative=negative)
        if (load := getattr(prior, "load", None)) is not None:
            load()
        self._resizers: dict[tuple[int, int], Tensor] = {}
        self._latent_size = 0
        if config.linear_until > 0:
            self._side(linear=True)  # fits the map, which no recording could

    def _check(self, known: tuple[Condition, ...]) -> None:
        config, name = self.config, self.prior.name
        if config.variant != "nfsd":  # which alone brings a negative of its own
            known = (
                *known,
                "negative",
            )  # no words without one, and `encode_prompt` sees the others
        if missing := [role for role in conditions_of(config) if role not in known]:
            of_views = missing[0] in PERP_NEG
            key, value = ("perp_neg", "true") if of_views else ("variant", repr(config.variant))
            expected = "false" if of_views else "'sds'"
            raise ConfigError(
                f"config key 'guidance.{key}': expected {expected} with the prior {name!r}, which "
                f"does not know the role {missing[0]!r}, got {value}"
            )
        if config.linear_until > 0 and self._encode is None:
            raise ConfigError(
                f"config key 'guidance.linear_until': expected 0 with the prior {name!r}, which "
                f"sees pixels, got {config.linear_until}"
            )

    def linear(self, progress: float) -> bool:
        """Whether the encoder is replaced by a linear map at this fraction of the run."""
        return progress < self.config.linear_until

    def model_space(self, image: Tensor, *, linear: bool = False) -> Tensor:
        """[B,3,H,W] in [0, 1] to what the model diffuses, [B,C,h,w], differentiable."""
        seen = 2.0 * self._resized(image, self._side(linear)) - 1.0
        if self._encode is None:
            return seen
        encoded: Tensor = self._encode(seen, linear=linear)
        return encoded

    def gradient(self, x: Tensor, inputs: StepInputs, generator: torch.Generator) -> Tensor:
        """[B,C,h,w] float32, the gradient at x = `model_space`; no graph. Noise is drawn from
        `generator`, on x's device.
        """
        with torch.no_grad():
            w = sds.weight(inputs.alpha, inputs.sigma, self.config.weighting)
            return sds.scaled(self._direction(x.detach(), inputs, generator), w)

    def _direction(self, x: Tensor, inputs: StepInputs, generator: torch.Generator) -> Tensor:
        """The variant's direction, before w(t)."""
        config, scale = self.config, self.config.scale
        if config.variant == "ism":
            noisy, inverted = self._invert(x, inputs)
            text, base = self._predict(noisy, inputs)
            return sds.ism(text, base, inverted, scale)
        noise = torch.randn(x.shape, generator=generator, device=x.device)
        text, base, *negative = self._predict(
            add_noise(x, noise, inputs.alpha, inputs.sigma), inputs
        )
        if config.variant == "sds":
            return sds.sds(text, base, noise, scale)
        if config.variant == "csd":
            return sds.csd(text, base, negative[0] if negative else base, scale, inputs.against)
        late = inputs.t >= LATE * len(self.alpha)
        return sds.nfsd(text, base, negative[0], late, scale)

    def _predict(self, noisy: Tensor, inputs: StepInputs) -> list[Tensor]:
        """[B,C,h,w] for each role of the variant, the text's led away from other views' words."""
        told = list(self._ask(noisy, inputs.t, inputs, conditions_of(self.config)))
        if self.config.perp_neg:
            *told, near, far = told
            weights = perp_neg_weights(inputs.cameras.azimuth, inputs.cameras.elevation)
            told[0] = sds.perp_neg(told[0], told[1], torch.stack([near, far]), weights)
        return told

    def _invert(self, x: Tensor, inputs: StepInputs) -> tuple[Tensor, Tensor]:
        """ISM's (x_t, eps_0(x_s)): x taken to the level s below t and on to t, without words."""
        steps = self.config.inversion_steps
        interval = max(1, round(self.config.delta_t * len(self.alpha)))
        s = (inputs.t - interval).clamp(min=0)
        path = [s * i // steps for i in range(steps + 1)] + [inputs.t]
        noisy = predicted = x  # at level 0 a picture counts as its own noisy version
        for now, then in pairwise(path):
            predicted = self._ask(noisy, now, inputs, ("null",))[0]
            noisy = ddim_step(noisy, predicted, self._level(now), self._level(then))
        return noisy, predicted

    def _level(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.alpha[t], self.sigma[t]

    def _ask(
        self, noisy: Tensor, t: Tensor, inputs: StepInputs, conditions: tuple[Condition, ...]
    ) -> Tensor:
        return self.prior.predict_noise(
            noisy, t, self._condition,
            cameras=None if self.config.view_words == "none" else inputs.cameras,
            textureless=inputs.shading.textureless > 0.5, conditions=conditions,
        )  # fmt: skip

    def _side(self, linear: bool) -> int:
        """Pixels a side of the picture that is encoded."""
        size = self.prior.image_size
        if not linear or self._encode is None:
            return size
        if not self._latent_size:
            blank = torch.zeros(1, 3, size, size, device=self.device)
            self._latent_size = int(self._encode(blank, linear=True).shape[-1])
        return self._latent_size

    def _resized(self, image: Tensor, size: int) -> Tensor:
        """Antialiased bilinear, as two products, whose gradient is deterministic everywhere."""
        now = image.shape[-1]
        if now == size:
            return image
        if (now, size) not in self._resizers:
            eye = torch.eye(now)[None, None]
            along = interpolate(eye, (size, now), mode="bilinear", antialias=True)[0, 0]
            self._resizers[now, size] = along.to(self.device, non_blocking=True)
        along = self._resizers[now, size]
        return along @ image @ along.t()
