"""Guidance by score distillation from a diffusion prior."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from dfast.config import GuidanceConfig
from dfast.errors import ConfigError
from dfast.guidance import sds
from dfast.guidance.base import Guidance, GuidanceBatch
from dfast.guidance.variants import (
    PERP_NEG,
    VARIANTS,
    Distillation,
    conditions_of,
    is_one_call,
)
from dfast.priors.base import Approximation, Condition, Prior, PromptEmbedding, as_prior
from dfast.priors.diffusion import add_noise
from dfast.scene.cameras import CameraBatch
from dfast.scene.lighting import Lighting
from dfast.scene.tree import replace_tensors, tensors_of

JUDGED = (0.3, 0.5, 0.7)
"""Noise levels at which images are judged, as fractions of the prior's timesteps."""


class DiffusionGuidance(Guidance):
    """Score distillation of one prompt from a prior, under one configuration."""

    def __init__(
        self, config: GuidanceConfig, prior: Prior, prompt: str, device: torch.device
    ) -> None:
        """Encode the prompt, then have the prior load what the steps need.

        Args:
            config: the variant and its settings.
            prior: a `Prior`, or an object that `as_prior` accepts.
            prompt: description of the object.
            device: where images and gradients are.

        Raises:
            ConfigError: if this prior cannot serve the configuration.
            PriorError: if the prior cannot be loaded.
            PromptError: if the prior cannot encode the prompt.
        """
        prior = as_prior(prior)
        self.config, self.prior, self.device = config, prior, device
        self.cuda_graph_safe = prior.cuda_graph_safe
        self._variant = VARIANTS[config.variant]
        check_conditions(config, prior.name, prior.conditions, is_latent=prior.is_latent)
        self._schedule = prior.noise_schedule(device)
        if self._variant.needs_signal:
            self._check_signal()
        negative = config.negative or self._variant.negative_prompt
        self._condition = prior.encode_prompt(
            prompt, views=config.view_conditioning, negative=negative
        )
        prior.load()
        self._resizers: dict[tuple[int, int], Tensor] = {}
        self._latent_size = 0
        if config.linear_until > 0:
            # The first call fits the approximation, which a CUDA graph could not record.
            self._encoded_size(approximate=True)

    @property
    def noise_schedule(self) -> tuple[Tensor, Tensor]:
        """Return the prior's (alpha [T], sigma [T])."""
        return self._schedule

    def approximate_at(self, progress: float) -> Approximation:
        """Return what replaces the encoder at this fraction of the run."""
        if progress < self.config.linear_until:
            return True
        return "tiny" if progress < self.prior.tiny_until else False

    def encode_images(self, images: Tensor, *, approximate: Approximation = False) -> Tensor:
        """Map images to what the prior diffuses, see `Guidance.encode_images`."""
        resized = self._resize(images, self._encoded_size(approximate))
        return self.prior.encode_images(2.0 * resized - 1.0, approximate=approximate)

    def gradient(self, encoded: Tensor, batch: GuidanceBatch, generator: torch.Generator) -> Tensor:
        """Return w(t) times the direction of the variant, see `Guidance.gradient`."""
        return self._distil(encoded, batch, (generator,), self._condition)

    def gradients(
        self,
        others: Sequence[DiffusionGuidance],
        encoded: Sequence[Tensor],
        batches: Sequence[GuidanceBatch],
        generators: Sequence[torch.Generator],
    ) -> Sequence[Tensor]:
        """Return the gradients of several runs, from one evaluation of the prior they share.

        Args:
            others: the guidances of the runs after this one, see `joins`.
            encoded: [B, C, h, w] of each run.
            batches: of each run.
            generators: source of each run's noise.
        """
        joint = self._condition
        if any(other is not self for other in others):  # particles share one guidance
            joint = self.prior.join_prompts([g._condition for g in (self, *others)])
        gradient = self._distil(torch.cat(list(encoded)), _joined(batches), generators, joint)
        return gradient.chunk(len(encoded))

    def joins(self, other: Guidance) -> bool:
        """Return whether `gradients` can serve this guidance together with another one."""
        return other is self or (
            isinstance(other, DiffusionGuidance)
            and type(other) is type(self)
            and other.prior is self.prior
            and other.config == self.config
            and self.prior.joins_prompts
        )

    @torch.no_grad()
    def prediction_error(self, images: Tensor, cameras: CameraBatch, lighting: Lighting) -> Tensor:
        """Return how badly the prior predicts images from noisy ones, a scalar.

        It is the mean squared error of the image that the prior sees behind the noise, over the
        images and `JUDGED`, with the same noise every time.

        Args:
            images: [B, 3, H, W] in [0, 1].
            cameras: of the B images.
            lighting: of the B images.
        """
        x = self.encode_images(images)
        generator = torch.Generator(x.device).manual_seed(0)
        alphas, sigmas = (level.to(x.device) for level in self._schedule)
        errors = []
        for fraction in JUDGED:
            t = torch.full((len(x),), int(fraction * len(alphas)), device=x.device)
            alpha, sigma = alphas[t], sigmas[t]
            noise = torch.randn(x.shape, generator=generator, device=x.device)
            predicted = self.prior.predict_noise(
                add_noise(x, noise, alpha, sigma),
                t,
                self._condition,
                cameras=None if self.config.view_conditioning == "none" else cameras,
                textureless=lighting.textureless > 0.5,
            )[0]
            ratio = (sigma / alpha).view(-1, 1, 1, 1)
            errors.append((ratio * (predicted - noise)).square().mean())
        return torch.stack(errors).mean()

    def _distil(
        self,
        encoded: Tensor,
        batch: GuidanceBatch,
        generators: Sequence[torch.Generator],
        condition: PromptEmbedding,
    ) -> Tensor:
        def evaluate(noisy: Tensor, t: Tensor, conditions: tuple[Condition, ...]) -> Tensor:
            return prior.predict_noise(
                noisy,
                t,
                condition,
                cameras=cameras,
                textureless=textureless,
                conditions=conditions,
            )

        def guide(noisy: Tensor) -> Tensor:
            return prior.predict_guided(
                noisy,
                batch.t,
                condition,
                cameras=cameras,
                textureless=textureless,
                scale=config.guided_scale,
            )

        config, prior = self.config, self.prior
        cameras = None if config.view_conditioning == "none" else batch.cameras
        textureless = batch.lighting.textureless > 0.5
        with torch.no_grad():
            step = Distillation(
                encoded.detach(),
                batch,
                config,
                self._schedule,
                generators,
                evaluate,
                guide if is_one_call(config, prior.largest_scale) else None,
                self._rendered(batch, condition),
                prior.joint_views,
            )
            w = sds.weight(batch.alpha, batch.sigma, self.config.weighting)
            return sds.scaled(self._variant.direction(step), w)

    def _rendered(
        self, batch: GuidanceBatch, condition: PromptEmbedding
    ) -> Callable[[Tensor], Tensor] | None:
        """Return what predicts the noise as a model of the renderings, None if there is none."""
        return None

    def _check_signal(self) -> None:
        """Raise ConfigError if timesteps of pure noise would be drawn, where the direction is 0."""
        config, count = self.config, len(self._schedule[0])
        known = int((self._schedule[0] >= sds.LEAST_SIGNAL).sum())
        for key in ("t_max", "t_max_end"):
            if math.ceil(getattr(config, key) * count) > known:
                raise ConfigError(
                    f"config key 'guidance.{key}': expected at most {known / count:g} with "
                    f"guidance.variant {config.variant!r} and the prior {self.prior.name!r}, which "
                    f"sees nothing but noise beyond, got {getattr(config, key)}"
                )

    def _encoded_size(self, approximate: Approximation) -> int:
        """Return the pixels a side of the images that the prior encodes."""
        size = self.prior.image_size
        if approximate is not True or not self.prior.is_latent:
            return size
        if not self._latent_size:
            blank = torch.zeros(1, 3, size, size, device=self.device)
            self._latent_size = self.prior.encode_images(blank, approximate=True).shape[-1]
        return self._latent_size

    def _resize(self, images: Tensor, size: int) -> Tensor:
        """Resize by two matrix products, whose gradient is deterministic on every device.

        The weights are those of antialiased bilinear interpolation.
        """
        now = images.shape[-1]
        if now == size:
            return images
        if (now, size) not in self._resizers:
            eye = torch.eye(now)[None, None]
            along = interpolate(eye, (size, now), mode="bilinear", antialias=True)[0, 0]
            self._resizers[now, size] = along.to(self.device, non_blocking=True)
        along = self._resizers[now, size]
        return along @ images @ along.t()


def _joined(batches: Sequence[GuidanceBatch]) -> GuidanceBatch:
    """Return what is known of the images of several runs, run after run."""
    each = [
        replace(batch, negative_weight=batch.negative_weight.expand(len(batch.t)).view(-1, 1, 1, 1))
        for batch in batches
    ]
    rows = zip(*map(tensors_of, each), strict=True)
    return replace_tensors(each[0], [torch.cat(row) for row in rows])


def check_conditions(
    config: GuidanceConfig, prior: str, known: Sequence[Condition], *, is_latent: bool
) -> None:
    """Raise ConfigError if a prior lacks a condition or an encoder that a guidance needs.

    Args:
        config: the variant and its settings.
        prior: its name.
        known: the conditions that it knows.
        is_latent: whether it diffuses latents.
    """
    variant = VARIANTS[config.variant]
    if not variant.negative_prompt:
        # Without a negative prompt "negative" is the empty one, which every prior supports;
        # `encode_prompt` refuses one that the prior cannot encode.
        known = (*known, "negative")
    needed = (*conditions_of(config), *variant.alone)
    if missing := [condition for condition in needed if condition not in known]:
        of_views = missing[0] in PERP_NEG
        key, value = ("perp_neg", "true") if of_views else ("variant", repr(config.variant))
        expected = "false" if of_views else "'sds'"
        raise ConfigError(
            f"config key 'guidance.{key}': expected {expected} with the prior {prior!r}, "
            f"which does not know the condition {missing[0]!r}, got {value}"
        )
    if config.linear_until > 0 and not is_latent:
        raise ConfigError(
            f"config key 'guidance.linear_until': expected 0 with the prior {prior!r}, "
            f"which sees pixels, got {config.linear_until}"
        )
