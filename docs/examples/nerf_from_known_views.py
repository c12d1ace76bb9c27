"""Reconstruct an object from pictures with known cameras: a NeRF of about fifty lines.

Shows `HashGrid`, `SphericalHarmonics`, `OccupancyGrid`, `VolumeRenderer` and `Adam` of `dfast.nn`
in a training loop of one's own, without a configuration. The pictures are those of a procedural
object, traced by `dfast.world`. Prints the PSNR of a view that was held out, in decibels.
"""

import torch
from torch import Tensor, nn

from dfast.nn import Adam, HashGrid, OccupancyGrid, SphericalHarmonics, VolumeRenderer
from dfast.scene.cameras import CameraBatch, orbit
from dfast.world import build_scene, read
from dfast.world.tracer import render_scene


class Radiance(nn.Module):
    """Density and view-dependent colour of world points in [-1, 1]^3."""

    def __init__(self) -> None:
        super().__init__()
        self.grid = HashGrid(8, log2_entries=14, base_resolution=8, max_resolution=96)
        self.encode_view = SphericalHarmonics(degree=2)
        self.body = nn.Sequential(nn.Linear(self.grid.output_dim, 32), nn.ReLU(), nn.Linear(32, 16))
        self.color = nn.Sequential(nn.Linear(15 + self.encode_view.output_dim, 3), nn.Sigmoid())

    def forward(self, x: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Return density [N] and colour [N, 3] at points, seen along unit directions."""
        h = self.body(self.grid((x + 1.0) / 2.0))
        color = self.color(torch.cat([h[:, 1:], self.encode_view(directions)], -1))
        return nn.functional.softplus(h[:, 0]), color


def views(cameras: CameraBatch, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return origins, directions and true colours [R, 3] of all pixels of the cameras."""
    scene = build_scene(read("a red cube on top of a blue cylinder").sentence)
    images = render_scene(scene, cameras, size)
    return (*cameras.rays(size), images.permute(0, 2, 3, 1).reshape(-1, 3))


def main(steps: int = 300, size: int = 32, rays: int = 512) -> float:
    """Fit the object and return the PSNR of the held-out view."""
    torch.manual_seed(0)
    origins, directions, colors = views(orbit(12, elevation=20.0), size)
    radiance, occupancy = Radiance(), OccupancyGrid(32)
    render = VolumeRenderer(occupancy, view_dependent=True, background=(1.0, 1.0, 1.0))
    optimizer = Adam(radiance.parameters(), lr=1e-2)
    for step in range(steps):
        if step % 8 == 0:
            occupancy.update(lambda x: radiance(x, x)[0])
        pick = torch.randint(len(colors), (rays,))
        image = render(radiance, origins[pick], directions[pick]).color
        loss = (image - colors[pick]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    origins, directions, colors = views(orbit(1, elevation=30.0, azimuth=15.0), size)
    with torch.no_grad():
        image = render.eval()(radiance, origins, directions).color
    psnr = -10.0 * torch.log10((image - colors).square().mean())
    print(f"PSNR {psnr:.1f} dB; {100 * occupancy.occupancy():.0f} % of the cells are occupied")
    return float(psnr)


if __name__ == "__main__":
    main()
