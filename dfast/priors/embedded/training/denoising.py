"""The training of a denoiser: noise, its levels, what is written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dfast.priors.embedded.distributed import ProcessGroup
from dfast.priors.embedded.model import build_scheduler
from dfast.priors.embedded.training.loop import Options, TrainingLoop
from dfast.priors.embedded.training.muon import hidden


@dataclass(frozen=True)
class DenoiserOptions(Options):
    """What the command line sets."""

    init: Path | None
    """pipeline folder to start from"""


class DenoiserTraining(TrainingLoop):
    """Trains a UNet and its text encoder to predict v."""

    options: DenoiserOptions

    def __init__(self, options: DenoiserOptions, group: ProcessGroup, model: nn.Module) -> None:
        """Prepare the training, and continue from a checkpoint if there is one.

        Args:
            options: of the command line.
            group: the processes that train together.
            model: with the modules `unet` and `text_encoder`, the same in every process.
        """
        self.scheduler = build_scheduler()
        self.alphas_bar = self.scheduler.alphas_cumprod.to(group.device)
        model.to(group.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        matrices, others = hidden(model)
        super().__init__(options, group, model, others, matrices=matrices)
        if options.init is not None and self.step == 0:
            self.checkpoint.start_from(options.init)
        if group.device.type == "cuda":
            self.model.get_submodule("unet").compile()

    def draw_levels(self) -> Tensor:
        """Return the fractions of the timesteps of a batch, [B] in [0, 1).

        Half of them are uniform, half in the noisiest quarter. There the caption and the camera,
        not the image, must tell what is shown, and there score distillation begins.
        """
        u = torch.rand(self.options.batch, device=self.group.device, generator=self.generator)
        u[::2] = 0.75 + 0.25 * u[::2]
        return u

    def add_noise(self, image: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (z_t, t, v) of images at fractions u of the timesteps; v = alpha eps - sigma x0.

        Args:
            image: [B, 3, H, W] in [0, 1].
            u: [B] in [0, 1).
        """
        x0 = image * 2 - 1
        t = (u * len(self.alphas_bar)).long().clamp_max(len(self.alphas_bar) - 1)
        noise = torch.randn(x0.shape, device=x0.device, generator=self.generator)
        alpha = self.alphas_bar[t].sqrt().view(-1, 1, 1, 1)
        sigma = (1 - self.alphas_bar[t]).sqrt().view(-1, 1, 1, 1)
        return alpha * x0 + sigma * noise, t, alpha * noise - sigma * x0

    def record(self) -> dict[str, Any]:
        """Return what is written about the training."""
        started = None if self.options.init is None else "an earlier run's averaged weights"
        return super().record() | {"started_from": started}

    def finish(self, tokenizer: Any) -> None:
        """Write checkpoint, averaged weights and the record of the training.

        Args:
            tokenizer: saved with the weights.
        """
        if not self.group.is_first:
            return
        out = self.options.out
        self.checkpoint.save(self.step, self.options.seconds)
        self.checkpoint.export(out / "weights", tokenizer, self.scheduler)
        (out / "training.json").write_text(json.dumps(self.record(), indent=2) + "\n")
