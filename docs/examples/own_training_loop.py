"""Write the training loop of score distillation yourself.

Shows the body of a training step in the open: draw cameras, render the scene, ask the guidance for
the gradient at the images, backpropagate it and take a step of Adam. `dfast.train` does the same
with schedules, regularisers and checks added. The prior is the oracle of custom_prior.py beside
this file. Prints the PSNR of a view in decibels.
"""

import torch
from custom_prior import BallPrior, ball

import dfast
from dfast.guidance.base import GuidanceBatch
from dfast.guidance.diffusion import DiffusionGuidance
from dfast.guidance.sds import sds_loss
from dfast.nn import Adam
from dfast.render.options import RenderOptions
from dfast.render.volume import render
from dfast.scene.cameras import spherical
from dfast.scene.lighting import fixed_lighting
from dfast.scene.scene import Scene
from dfast.training.sampling import sample_cameras, sample_timesteps
from dfast.world.scenes import PALETTE


def main(steps: int = 60, views: int = 2, size: int = 32) -> float:
    """Distil a red ball and return the PSNR of a view."""
    device, generator = torch.device("cpu"), torch.Generator().manual_seed(0)
    config = dfast.Config().replace(background={"kind": "solid"})
    scene = Scene.from_config(config, generator).to(device)
    guidance = DiffusionGuidance(config.guidance, BallPrior(), "a red ball", device)
    alpha, sigma = guidance.noise_schedule
    options = RenderOptions(config.march, normals="none")  # albedo needs no normals
    optimizer = Adam(
        [
            {"params": [scene.field.table], "lr": config.optimizer.lr_grid},
            {"params": [scene.field.mlp], "lr": config.optimizer.lr_mlp},
        ],
        betas=config.optimizer.betas,
        eps=config.optimizer.eps,
    )
    for step in range(steps):
        if step % 8 == 0:
            scene.refresh_occupancy(generator)
        cameras = sample_cameras(config.camera, views, generator)
        lighting = fixed_lighting("albedo", cameras)
        images = render(
            scene, cameras, lighting, options, resolution=size, generator=generator
        ).image
        encoded = guidance.encode_images(images)
        t = sample_timesteps(views, [(0.02, 0.98)], len(alpha), generator)
        batch = GuidanceBatch(cameras, lighting, t, alpha[t], sigma[t], torch.zeros(1))
        gradient = guidance.gradient(encoded, batch, generator)
        # The gradient of this "loss" at the encoded images is the guidance's.
        loss = sds_loss(encoded, gradient) / (views * size * size)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    camera = spherical(torch.tensor([40.0]), elevation=20.0, distance=3.0, fov=40.0)
    with torch.no_grad():
        image = render(
            scene, camera, fixed_lighting("albedo", camera), options, resolution=size
        ).image
    error = image - ball(camera, torch.tensor(PALETTE["red"]), size)
    psnr = -10.0 * torch.log10(error.square().mean())
    print(f"PSNR {psnr:.1f} dB after {steps} steps")
    return float(psnr)


if __name__ == "__main__":
    main()
