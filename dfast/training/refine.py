"""The refine stage: a mesh that is optimised under the guidance of its run.

From a field at low resolution to a textured mesh at a high one, as in Magic3D (Lin et al. 2022,
arXiv 2211.10440) and Fantasia3D (Chen et al. 2023, arXiv 2303.13873): the mesh is rendered by
rasterisation, which costs the same whatever is inside it, and the prior sees images of 512 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from dfast.config import Config, RefineConfig
from dfast.guidance.base import Guidance
from dfast.priors.base import Prior, as_prior
from dfast.render.outputs import Rendering
from dfast.render.surface import render_surface
from dfast.scene.background import Background
from dfast.scene.mesh_scene import MeshScene, MeshTensors
from dfast.scene.scene import Scene
from dfast.training.build import guidance_of
from dfast.training.generators import Generators
from dfast.training.health import Remedies
from dfast.training.losses import Loss, regularizer_losses
from dfast.training.mesh_losses import laplacian, neighbours, normal_consistency
from dfast.training.trainer import Step, Trainer


class MeshTrainer(Trainer):
    """A refine stage: a `Trainer` whose scene is a mesh.

    The mesh has no samples, no occupancy grid and no levels; the step is not recorded in a CUDA
    graph.

    Attributes:
        mesh: what is optimised, also `scene`.
    """

    def __init__(
        self,
        config: Config,
        mesh: MeshScene,
        guidance: Guidance,
        generators: Generators,
        *,
        losses: Mapping[str, Loss] | None = None,
        prompt: str = "",
        prior_name: str = "",
    ) -> None:
        """Begin a stage.

        Args:
            config: settings of the stage, see `dfast.config.stages.refine_settings`.
            mesh: on the device of the stage.
            guidance: on the same device.
            generators: of the stage.
            losses: beside the guidance, by name; None takes the regularisers of the configuration
                and those of the mesh's shape.
            prompt: what the mesh is to show.
            prior_name: of the prior behind the guidance.
        """
        self.mesh = mesh
        if losses is None:
            losses = regularizer_losses(config.regularizer) | shape_losses(config.refine, mesh)
        super().__init__(
            config,
            cast(Scene, mesh),  # it has what is used below, where no method here replaces the use
            guidance,
            generators,
            losses=losses,
            prompt=prompt,
            prior_name=prior_name,
        )
        self.health.remedies = Remedies(
            "lower refine.lr_vertices",
            "lower refine.lr_vertices",
            "refine.lr_vertices and lr_texture",
        )

    def render(self, step: Step) -> Rendering:
        """Render the views of a step, see `Trainer.render`."""
        return render_surface(
            self.mesh,
            step.inputs.cameras,
            step.inputs.lighting,
            resolution=step.size,
            colors=step.inputs.colors,
            want_normal=self._normals == "image",
        )

    def backward(
        self, step: Step, rendering: Rendering, x: Tensor, gradient: Tensor
    ) -> dict[str, Tensor]:
        """Follow the gradients, then bring vertices and colours back into their ranges."""
        metrics = super().backward(step, rendering, x, gradient)
        self.mesh.constrain()
        return metrics

    def finish(self) -> None:
        """Give a stage that is done its averaged parameters."""
        self._apply_average()

    def _rate(self, name: str) -> float:
        refine = self.config.refine
        return refine.lr_vertices if name == "vertices" else refine.lr_texture

    def _level_resolutions(self) -> tuple[float, ...]:
        return ()

    def _computes_reserved(self) -> bool:
        return False

    def _run(self, step: Step) -> dict[str, Tensor]:
        return self._device_step(step)

    def _refresh_occupancy(self, level_weights: Tensor) -> None:
        return


def shape_losses(config: RefineConfig, mesh: MeshScene) -> dict[str, Loss]:
    """Return the losses on the shape of a mesh; those whose weight is 0 are left out.

    Args:
        config: the weights.
        mesh: what they are about; the values read it as it is when they are computed.
    """
    edges, pairs = neighbours(mesh.faces, mesh.twins)
    faces = mesh.faces.long()
    table: dict[str, tuple[float, Any]] = {
        "laplacian": (
            config.laplacian,
            lambda *_: laplacian(mesh.vertices, mesh.start, edges),
        ),
        "normal_consistency": (
            config.normal_consistency,
            lambda *_: normal_consistency(mesh.vertices, faces, pairs),
        ),
    }
    return {name: Loss(value, weight) for name, (weight, value) in table.items() if weight > 0}


def build_mesh_trainer(
    config: Config,
    mesh: MeshTensors,
    prior: Prior,
    prompt: str,
    seed: int,
    device: torch.device,
) -> MeshTrainer:
    """Return the trainer of a refine stage that begins.

    Args:
        config: settings of the stage, see `dfast.config.stages.refine_settings`.
        mesh: what it begins with.
        prior: the diffusion model, or an object that `dfast.priors.base.as_prior` accepts.
        prompt: what the mesh is to show.
        seed: >= 0, of all randomness of the stage.
        device: where the mesh lives.

    Raises:
        PriorError: for an object that is no prior.
        ConfigError: for a configuration that the prior cannot serve.
        PromptError: for a prompt that the prior does not take.
    """
    scene = MeshScene(mesh, Background(config.background)).to(device)
    model = as_prior(prior)
    guidance = guidance_of(config, model, prompt, device)
    return MeshTrainer(
        config,
        scene,
        guidance,
        Generators.seeded(seed, device),
        prompt=prompt,
        prior_name=model.name,
    )
