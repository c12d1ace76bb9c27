"""Build a trainer from a configuration, a prior or a CLIP, and a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from dfast._numbers import shown
from dfast.config import Config
from dfast.config.methods import METHODS
from dfast.errors import ConfigError, PriorError
from dfast.guidance.augment import CLIP_MESH, DREAM_FIELDS
from dfast.guidance.clip import Augmentation, ClipGuidance, ClipGuide, Guide
from dfast.guidance.diffusion import DiffusionGuidance
from dfast.guidance.variational import VariationalGuidance
from dfast.priors.base import Prior, as_prior
from dfast.scene.composition import Composition
from dfast.scene.loop_scene import LoopScene
from dfast.scene.scene import Scene
from dfast.training.clip_mesh import ClipMeshTrainer, clip_mesh_losses
from dfast.training.generators import Generators
from dfast.training.layout import LayoutTrainer
from dfast.training.losses import Loss, dream_fields_losses, regularizer_losses
from dfast.training.ranks import Ranks
from dfast.training.trainer import Trainer


def build_trainer(
    config: Config,
    prior: Guide,
    prompt: str,
    seed: int,
    device: torch.device,
    *,
    losses: Mapping[str, Loss] | None = None,
    ranks: Ranks | None = None,
    guidance: DiffusionGuidance | None = None,
) -> Trainer:
    """Return the trainer of a run that begins: a random scene, and what guides it.

    Args:
        config: all settings of the run, of a method that the prior or CLIP can guide.
        prior: the diffusion model, or an object that `dfast.priors.base.as_prior` accepts; or the
            CLIP of a method that a CLIP guides.
        prompt: what the scene is to show.
        seed: >= 0, of all randomness of the run.
        device: where the scene lives.
        losses: beside the guidance, by name; None takes those of the configuration.
        ranks: the processes that make the object together; None for this one alone.
        guidance: of another run of this prompt and prior, to share it; None makes one.

    Raises:
        PriorError: for an object that is no prior.
        ConfigError: for a configuration that the prior cannot serve.
        PromptError: for a prompt that the prior does not take.
    """
    if isinstance(prior, ClipGuide):
        return _clip_guided(config, prior, prompt, seed, device, losses)
    model = as_prior(prior)
    if config.layout.parts:
        return _of_layout(config, model, prompt, seed, device, losses, ranks)
    generators = Generators.seeded(seed, device)
    scene = Scene.from_config(config, generators.host).to(device)
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
    _check_ring(config, prior)
    variational = config.guidance.variant == "vsd"
    kind = VariationalGuidance if variational else DiffusionGuidance
    return kind(config.guidance, prior, prompt, device)


def _check_ring(config: Config, prior: Prior) -> None:
    """Raise unless the cameras stand as a prior needs that predicts views together.

    Raises:
        PriorError: for a prior that predicts no number of views.
        ConfigError: for cameras that stand otherwise.
    """
    joint, ring = prior.joint_views, config.camera.ring
    if not isinstance(joint, int) or isinstance(joint, bool) or joint < 1:
        raise PriorError(
            f"prior {prior.name!r}: expected joint_views of 1 or more, got {shown(joint)}"
        )
    if joint not in (1, ring):
        raise ConfigError(
            f"config key 'camera.ring': expected {joint} with the prior {prior.name!r}, which "
            f"predicts {joint} views of an object together, got {ring}"
        )


def _of_layout(
    config: Config,
    prior: Prior,
    prompt: str,
    seed: int,
    device: torch.device,
    losses: Mapping[str, Loss] | None,
    ranks: Ranks | None,
) -> LayoutTrainer:
    """Return the trainer of several things in a scene, each with a guidance of its own."""
    generators = Generators.seeded(seed, device)
    layout = config.layout
    prompts = [prompt if layout.whole > 0.0 else None, *(part.prompt for part in layout.parts)]
    return LayoutTrainer(
        config,
        Composition.from_config(config, generators.host).to(device),
        [None if text is None else guidance_of(config, prior, text, device) for text in prompts],
        generators,
        losses=losses,
        prompt=prompt,
        prior_name=prior.name,
        ranks=ranks,
    )


def _clip_guided(
    config: Config,
    clip: ClipGuide,
    prompt: str,
    seed: int,
    device: torch.device,
    losses: Mapping[str, Loss] | None,
) -> Trainer:
    """Return the trainer of CLIP-Mesh, or of Dream Fields: the same field under another guidance.

    Raises:
        ConfigError: for a learned background, which no CLIP would see.
    """
    if config.background.kind == "mlp":
        raise ConfigError(
            "config key 'background.kind': expected random or solid, since the CLIP sees "
            "backgrounds of its own, got 'mlp'"
        )
    generators = Generators.seeded(seed, device)
    kind: type[Trainer] = Trainer
    scene: Any
    if METHODS[config.method.name].shape == "mesh":
        kind = ClipMeshTrainer
        scene = LoopScene(config, generators.host).to(device)
        own = clip_mesh_losses(config.clip_mesh, scene)
        seen = Augmentation(CLIP_MESH, config.clip_mesh.blur)
    else:
        fields = config.dream_fields
        scene = Scene.from_config(config, generators.host).to(device)
        own = regularizer_losses(config.regularizer) | dream_fields_losses(fields)
        seen = Augmentation(DREAM_FIELDS, fields.blur, fields.crops, fields.crop_size)
    return kind(
        config,
        scene,
        ClipGuidance(clip.encoder, clip.normal_form(prompt), seen),
        generators,
        losses=own if losses is None else losses,
        prompt=prompt,
        prior_name=clip.name,
    )
