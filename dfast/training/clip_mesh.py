"""Training of a mesh under the guidance of a CLIP: CLIP-Mesh."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dfast.config import ClipMeshConfig
from dfast.config.clip_mesh import laplacian_weight, rate_factor
from dfast.config.schedules import resolution
from dfast.render.lit_mesh import LitMesh, render_lit_mesh
from dfast.scene.loop_scene import LoopScene
from dfast.training.losses import Loss
from dfast.training.step_inputs import StepInputs
from dfast.training.trainer import Step, Trainer


class ClipMeshTrainer(Trainer):
    """A run whose scene is a mesh: it is rasterised in place of marched, and has its schedules."""

    scene: LoopScene  # type: ignore[assignment]

    def _rate(self, name: str) -> float:
        own = self.config.clip_mesh
        return own.lr_vertices if name == "control" else own.lr_maps

    def _level_resolutions(self) -> tuple[float, ...]:
        return ()

    def _computes_reserved(self) -> bool:
        return False

    def begin_step(self) -> Step:
        """Draw a step's inputs."""
        size = resolution(self.progress, self.config.camera.resolution)
        return Step(self.draw(), size, None, False, True)

    def _draw(self, steps: range, generator: torch.Generator) -> StepInputs:
        """Draw the inputs of some steps on the host: those of fields, with changes."""
        own, total = self.config.clip_mesh, self.config.train.steps
        inputs = super()._draw(steps, generator)
        progress = [min(step / total, 1.0) for step in steps]
        count, views = inputs.colors.shape[:2]
        late = torch.tensor([p >= own.textureless_until for p in progress])[:, None]
        grey = (torch.arange(views) >= views // 2) & ~late
        lighting = replace(inputs.lighting, textureless=grey.float())
        # A shift of the object is one of its camera and its light the other way.
        shift = torch.zeros(count, views, 3)
        shift[..., ::2] = own.offset * (
            2.0 * torch.rand(count, views, 2, generator=generator) - 1.0
        )
        rates = torch.tensor([rate_factor(p, own) for p in progress])[:, None]
        return replace(
            inputs,
            cameras=replace(inputs.cameras, origin=inputs.cameras.origin - shift),
            lighting=replace(lighting, light_position=lighting.light_position - shift),
            rate_factor=rates,
        )

    def render(self, step: Step) -> LitMesh:  # type: ignore[override]
        """Render the views of a step, see `Trainer.render`."""
        inputs = step.inputs
        return render_lit_mesh(
            self.scene,
            inputs.cameras,
            inputs.lighting,
            resolution=step.size,
            colors=inputs.colors,
        )

    def backward(  # type: ignore[override]
        self, step: Step, rendering: LitMesh, x: Tensor, gradient: Tensor
    ) -> dict[str, Tensor]:
        """Follow the gradient and the losses, and keep the maps within their ranges."""
        laplacian = self.scene.laplacian().detach()
        metrics = super().backward(step, rendering, x, gradient)  # type: ignore[arg-type]
        self.scene.project()
        return metrics | {"laplacian": laplacian}

    def finish(self) -> None:
        """Give a run that is done its averaged parameters, if it averages."""
        self._apply_average()


def clip_mesh_losses(config: ClipMeshConfig, scene: LoopScene) -> dict[str, Loss]:
    """Return the loss of CLIP-Mesh beside the guidance.

    Args:
        config: its weight.
        scene: whose control vertices it is about.
    """
    if max(config.laplacian) <= 0:
        return {}
    return {
        "laplacian": Loss(
            lambda rendering, inputs: scene.laplacian(),
            lambda progress: laplacian_weight(progress, config),
        )
    }
