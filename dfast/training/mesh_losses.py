"""Losses on the shape of a mesh, each a scalar."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def laplacian(vertices: Tensor, start: Tensor, edges: Tensor) -> Tensor:
    """Return how much a mesh bends away from its start, relative to the length of its edges.

    It is the mean squared change of delta_i = v_i - mean of v_j over the neighbours j of i, the
    uniform Laplacian, over the mean squared length of the edges at the start: the regulariser of
    Hasselgren et al., "Appearance-driven automatic 3D model simplification" (2021, arXiv
    2104.03989). Moving and shearing the mesh as a whole costs nothing.

    Args:
        vertices: [V, 3]. Differentiable.
        start: [V, 3], the same vertices at the start.
        edges: [E, 2] pairs of neighbouring vertices, each edge once.
    """
    moved = vertices - start
    first, second = edges.T
    both, ends = torch.cat([first, second]), torch.cat([second, first])
    total = torch.zeros_like(moved).index_add(0, both, moved.index_select(0, ends))
    count = torch.zeros_like(moved[:, :1]).index_add(
        0, both, torch.ones_like(both)[:, None].to(moved)
    )
    count = count.clamp(min=1.0)
    scale = (start.index_select(0, first) - start.index_select(0, second)).square().sum(-1).mean()
    return (moved - total / count).square().sum(-1).mean() / scale


def normal_consistency(vertices: Tensor, faces: Tensor, pairs: Tensor) -> Tensor:
    """Return the mean of 1 - cos of the angles between neighbouring faces.

    Magic3D (Lin et al. 2022, arXiv 2211.10440, section 4.2) regularises these angles.

    Args:
        vertices: [V, 3]. Differentiable.
        faces: [F, 3] int64.
        pairs: [P, 2] neighbouring faces.
    """
    corner = vertices.index_select(0, faces.flatten()).view(-1, 3, 3)
    a, b, c = corner.unbind(1)
    normal = normalize(torch.linalg.cross(b - a, c - a), dim=-1, eps=1e-20)
    first, second = pairs.T
    return (1.0 - (normal.index_select(0, first) * normal.index_select(0, second)).sum(-1)).mean()


def neighbours(faces: Tensor, twins: Tensor) -> tuple[Tensor, Tensor]:
    """Return the edges of a mesh, and the faces on both sides of each.

    Args:
        faces: [F, 3].
        twins: int32 [F, 3], `dfast.ops.half_edge_twins` of the faces.

    Returns:
        The vertices of each edge [E, 2] and its faces [E, 2], int64. Edges that do not have two
        faces are left out.
    """
    twin = twins.long().flatten()
    half = torch.arange(len(twin), device=twin.device)
    once = half[half < twin]  # each edge has two halves; without a twin it is -1
    start, end = faces.long().roll(-1, 1).flatten(), faces.long().roll(-2, 1).flatten()
    return torch.stack([start[once], end[once]], 1), torch.stack([once, twin[once]], 1) // 3
