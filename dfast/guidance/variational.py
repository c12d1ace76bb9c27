"""Variational score distillation (VSD): against a copy of the prior that learns the renderings.

Wang et al. 2023 (ProlificDreamer, arXiv 2305.16213, section 3.2, algorithm 1). Every step
follows w(t) (guided - eps_phi), then trains phi to predict the noise in the step's own images:

    min over phi of E || eps_phi(alpha_t x + sigma_t eps, t, camera, prompt) - eps ||^2
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dfast.config import GuidanceConfig
from dfast.errors import ConfigError
from dfast.guidance.base import GuidanceBatch
from dfast.guidance.diffusion import DiffusionGuidance
from dfast.nn.adam import Adam
from dfast.priors.base import Prior, PromptEmbedding, as_prior
from dfast.priors.diffusion import add_noise
from dfast.priors.low_rank import LowRankCopy
from dfast.scene.tree import copy_into


class VariationalGuidance(DiffusionGuidance):
    """VSD of one prompt, with the copy of the prior and its optimiser.

    Attributes:
        copy: the copy, whose predictions are eps_phi.
        optimizer: Adam, of `copy.values`.
    """

    def __init__(
        self, config: GuidanceConfig, prior: Prior, prompt: str, device: torch.device
    ) -> None:
        """Encode the prompt, load the prior and make a copy of it, see `DiffusionGuidance`.

        Raises:
            ConfigError: if no copy of this prior can be trained.
        """
        prior = as_prior(prior)
        if prior.untrainable:
            raise ConfigError(
                "config key 'guidance.variant': expected another one with the prior "
                f"{prior.name!r}, of which no copy can be trained: {prior.untrainable}; got 'vsd'"
            )
        super().__init__(config, prior, prompt, device)
        assert prior.network is not None, "a loaded prior that can be trained has a network"
        self.copy = LowRankCopy(prior.network, config.vsd_rank)
        self.optimizer = Adam([self.copy.values], lr=config.vsd_rate)

    def joins(self, other: object) -> bool:
        """Return whether it is the other one: guidances with copies of their own step alone."""
        return other is self

    def parameters(self) -> tuple[Tensor, ...]:
        """Return what the copy has of its own."""
        return (self.copy.values,)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors themselves: of the copy and of its optimiser."""
        moments = self.optimizer.state[self.copy.values]
        names = ("step", "exp_avg", "exp_avg_sq")
        return {"copy": self.copy.values, **{f"adam.{name}": moments[name] for name in names}}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Copy what `state_dict` returned into the own tensors.

        Raises:
            KeyError: when a tensor is missing.
            RuntimeError: when a tensor has the wrong shape.
        """
        copy_into(self.state_dict(), state)

    def _distil(
        self,
        encoded: Tensor,
        batch: GuidanceBatch,
        generators: Sequence[torch.Generator],
        condition: PromptEmbedding,
    ) -> Tensor:
        gradient = super()._distil(encoded, batch, generators, condition)
        self._train(encoded.detach(), batch, generators, condition)
        return gradient

    def _rendered(
        self, batch: GuidanceBatch, condition: PromptEmbedding
    ) -> Callable[[Tensor], Tensor]:
        return lambda noisy: self._predict(noisy, batch.t, batch, condition)

    def _predict(
        self, noisy: Tensor, t: Tensor, batch: GuidanceBatch, condition: PromptEmbedding
    ) -> Tensor:
        """Return eps_phi of noisy images [B, C, h, w] at t [B]."""
        with self.copy.active(batch.cameras):
            return self.prior.predict_trained(
                noisy,
                t,
                condition,
                cameras=None if self.config.view_conditioning == "none" else batch.cameras,
                textureless=batch.lighting.textureless > 0.5,
            )

    def _train(
        self,
        x: Tensor,
        batch: GuidanceBatch,
        generators: Sequence[torch.Generator],
        condition: PromptEmbedding,
    ) -> None:
        """Take one step of the copy towards predicting the noise in x [B, C, h, w]."""
        alphas, sigmas = self._schedule
        each, joint = len(x) // len(generators), self.prior.joint_views
        drawn = [
            (
                torch.randint(
                    len(alphas), (each // joint,), generator=g, device=x.device
                ).repeat_interleave(joint, output_size=each),
                torch.randn((each, *x.shape[1:]), generator=g, device=x.device),
            )
            for g in generators
        ]
        t, noise = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        noisy = add_noise(x, noise, alphas[t], sigmas[t])
        with torch.enable_grad():
            error = self._predict(noisy, t, batch, condition) - noise
            # A sum: gradients of a mean would underflow in a network of half precision.
            gradients = torch.autograd.grad(
                error.square().sum(), self.copy.parts, materialize_grads=True
            )
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        self.copy.values.grad = flat / noise.numel()
        self.optimizer.step()
        self.copy.values.grad = None
