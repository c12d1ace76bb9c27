"""Build a trainer from a configuration, a prior and a prompt."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from dfast.config import Config
from dfast.guidance.diffusion import DiffusionGuidance
from dfast.guidance.variational import VariationalGuidance
from dfast.priors.base import Prior, as_prior
from dfast.scene.scene import Scene
from dfast.training.generators import Generators
from dfast.training.losses import Loss
from dfast.training.ranks import Ranks
from dfast.training.trainer import Trainer


def build_trainer(
    config: Config,
    prior: Prior,
    prompt: str,
    seed: int,
    device: torch.device,
    *,
    losses: Mapping[str, Loss] | None = None,
    ranks: Ranks | None = None,
    guidance: DiffusionGuidance | None = None,
) -> Trainer:
    """Return the trainer of a run that begins: a random scene under score distillation.

    Args:
        config: all settings of the run.
        prior: the diffusion model, or an object that `dfast.priors.base.as_prior` accepts.
        prompt: what the scene is to show.
        seed: >= 0, of all randomness of the run.
        device: where the scene lives.
        losses: beside the guidance, by name; None takes the regularisers of the configuration.
        ranks: the processes that make the object together; None for this one alone.
        guidance: of another run of this prompt and prior, to share it; None makes one.

    Raises:
        PriorError: for an object that is no prior.
        ConfigError: for a configuration that the prior cannot serve.
        PromptError: for a prompt that the prior does not take.
    """
    generators = Generators.seeded(seed, device)
    scene = Scene.from_config(config, generators.host).to(device)
    model = as_prior(prior)
    if guidance is None:
        guidance = guidance_of(config, model, prompt, device)
    return Trainer(
        config,
        scene,
        guidance,
        generators,
        losses=losses,
        prompt=prompt,
        prior_name=model.name,
        ranks=ranks,
    )


def guidance_of(
    config: Config, prior: Prior, prompt: str, device: torch.device
) -> DiffusionGuidance:
    """Return the guidance that a configuration asks for.

    Args:
        config: all settings of the run.
        prior: the diffusion model.
        prompt: what the scene is to show.
        device: where images and gradients are.

    Raises:
        ConfigError: for a configuration that the prior cannot serve.
        PromptError: for a prompt that the prior does not take.
    """
    variational = config.guidance.variant == "vsd"
    kind = VariationalGuidance if variational else DiffusionGuidance
    return kind(config.guidance, prior, prompt, device)
