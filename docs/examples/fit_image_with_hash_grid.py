"""Fit a picture with a 2-D hash grid and a small MLP, in plain PyTorch.

Shows `dfast.nn.HashGrid` inside `torch.nn.Sequential` and `dfast.nn.Adam` as an optimiser of
torch. The picture is made here: rings in three colours that get finer towards the corners. Prints
the PSNR of the fit in decibels.
"""

import torch
from torch import nn

from dfast.nn import Adam, HashGrid


def picture(x: torch.Tensor) -> torch.Tensor:
    """Return the colours [N, 3] of points [N, 2] in [0, 1]."""
    rings = torch.cos(60.0 * (x - 0.5).square().sum(-1, keepdim=True) + torch.arange(3.0))
    return 0.5 + 0.5 * rings * torch.sin(9.0 * x[:, :1])


def main(steps: int = 200, points: int = 4096) -> float:
    """Fit the picture and return the PSNR on pixels that were not fitted."""
    torch.manual_seed(0)
    grid = HashGrid(8, dimensions=2, log2_entries=14, base_resolution=8, max_resolution=256)
    model = nn.Sequential(grid, nn.Linear(grid.output_dim, 32), nn.ReLU(), nn.Linear(32, 3))
    optimizer = Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        x = torch.rand(points, 2)
        loss = (model(x) - picture(x)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        x = torch.rand(20_000, 2)
        psnr = -10.0 * torch.log10((model(x) - picture(x)).square().mean())
    print(f"PSNR {psnr:.1f} dB after {steps} steps")
    return float(psnr)


if __name__ == "__main__":
    main()
