"""Run dfast with a prior of one's own.

Shows the interface of a prior: a noise schedule, an encoding of the prompt and a prediction of the
noise. No base class is needed. This one is an oracle: its "data" is a single picture for each
camera, a ball in the colour that the prompt names, for which the best prediction of the noise is
known exactly: ``eps = (noisy - alpha picture) / sigma``. Score distillation with it is a
reconstruction of the ball. Prints the PSNR of a view in decibels.
"""

import math
from typing import Any

import torch
from torch import Tensor

import dfast
from dfast.errors import PromptError
from dfast.scene.cameras import CameraBatch, spherical
from dfast.world.parts import PALETTE


def ball(cameras: CameraBatch, color: Tensor, size: int, radius: float = 0.6) -> Tensor:
    """Return pictures [B, 3, size, size] in [0, 1] of a ball in front of white, anti-aliased."""
    origins, directions = cameras.rays(3 * size)
    closest = torch.linalg.cross(origins, directions).norm(dim=-1)
    picture = torch.where((closest < radius)[:, None], color.to(origins), 1.0)
    picture = picture.view(len(cameras), 3 * size, 3 * size, 3).permute(0, 3, 1, 2)
    return torch.nn.functional.avg_pool2d(picture, 3)


class BallPrior:
    """A diffusion model of balls, as `dfast.priors.Prior` describes it.

    One that predicts four views of an object together would also say ``joint_views = 4``.
    """

    name = "ball"
    image_size = 32

    def noise_schedule(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return alpha [T] and sigma [T] of a cosine schedule."""
        angle = (torch.arange(100, device=device) + 0.5) / 100 * (math.pi / 2)
        return angle.cos(), angle.sin()

    def encode_prompt(self, prompt: str, **_: Any) -> Tensor:
        """Return the colour [3] that the prompt names; it comes back as `condition`."""
        for word in prompt.split():
            if word in PALETTE:
                return torch.tensor(PALETTE[word])
        raise PromptError(f"prompt: expected a colour word, got {prompt!r}")

    def predict_noise(
        self,
        noisy: Tensor,
        t: Tensor,
        condition: Tensor,
        *,
        cameras: CameraBatch,
        conditions: tuple[str, ...] = ("text",),
        **_: Any,
    ) -> Tensor:
        """Return the noise in `noisy` [B, 3, 32, 32], once for each of `conditions`."""
        picture = 2.0 * ball(cameras, condition, self.image_size) - 1.0
        alpha, sigma = (v[t].view(-1, 1, 1, 1) for v in self.noise_schedule(noisy.device))
        return ((noisy - alpha * picture) / sigma).expand(len(conditions), *noisy.shape)


def main(steps: int = 60) -> float:
    """Distil a blue ball and return the PSNR of a view."""
    config = dfast.Config().replace(
        shading={"albedo": 1.0, "diffuse": 0.0, "textureless": 0.0},  # what the pictures show
        background={"kind": "solid"},
        camera={"views": 2, "resolution": [[0.0, 32]]},
        regularizer={"orientation": [0.0, 0.0], "opacity": 0.0},
    )
    result = dfast.train(
        "a blue ball", prior=BallPrior(), config=config, steps=steps, device="cpu", progress=False
    )
    image = result.render(azimuth=40.0, elevation=20.0, resolution=32, shading="albedo")
    camera = spherical(torch.tensor([40.0]), elevation=20.0, distance=3.0, fov=40.0)
    truth = ball(camera, torch.tensor(PALETTE["blue"]), 32)[0]
    error = torch.from_numpy(image).permute(2, 0, 1) / 255.0 - truth
    psnr = -10.0 * torch.log10(error.square().mean())
    print(f"PSNR {psnr:.1f} dB after {steps} steps")
    return float(psnr)


if __name__ == "__main__":
    main()
