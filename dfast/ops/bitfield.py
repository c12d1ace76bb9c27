"""The occupancy bitfield: one bit for each cell of the grid that rays are marched through."""

from __future__ import annotations

import torch
from torch import Tensor

from dfast import _native


def pack_bits(occupied: Tensor) -> Tensor:
    """Pack cells into a bitfield.

    The bitfield is a sequence of bricks of 4x4x4 cells, eight bytes each, lowest bit first. Bricks
    are in x-major order, and so are the cells in a brick.

    Args:
        occupied: [n, n, n] bool, x slowest; n is a multiple of 4.

    Returns:
        uint8 [n**3 / 8].

    Raises:
        ValueError: on another shape or dtype.
    """
    shape = tuple(_native.dense("occupied", occupied).shape)
    n = shape[0] if shape else 0
    if occupied.dtype != torch.bool or shape != (n, n, n) or n % 4:
        raise ValueError(
            "occupied must be bool [n, n, n] with n a multiple of 4, "
            f"got {occupied.dtype} {list(shape)}"
        )
    bricks = occupied.reshape(n // 4, 4, n // 4, 4, n // 4, 4).permute(0, 2, 4, 1, 3, 5)
    # Eight bytes of 0 or 1 become one byte: first pairs are joined, then nibbles, then halves.
    b = bricks.reshape(-1, 4, 2).to(torch.uint8)
    b = (b[..., 0] | (b[..., 1] << 1)).view(-1, 2, 2)
    b = b[..., 0] | (b[..., 1] << 2)
    return b[:, 0] | (b[:, 1] << 4)


def unpack_bits(occupancy_bitfield: Tensor, resolution: int) -> Tensor:
    """Unpack a bitfield, the inverse of :func:`pack_bits`.

    Args:
        occupancy_bitfield: uint8 [resolution**3 / 8].
        resolution: cells a side.

    Returns:
        bool [resolution, resolution, resolution], x slowest.

    Raises:
        ValueError: on another shape or dtype, or a resolution that is no multiple of 4.
    """
    resolution = _native.whole_number("resolution", resolution, 4, 2048)
    bits = _native.dense("occupancy_bitfield", occupancy_bitfield)
    if resolution % 4 or bits.dtype != torch.uint8 or bits.shape != (resolution**3 // 8,):
        raise ValueError(
            f"occupancy_bitfield must be uint8 [resolution**3 / 8] for a resolution that is a "
            f"multiple of 4, got {bits.dtype} {list(bits.shape)} and {resolution}"
        )
    shifts = torch.arange(8, dtype=torch.uint8, device=occupancy_bitfield.device)
    cells = ((occupancy_bitfield[:, None] >> shifts) & 1).bool()
    n = resolution // 4
    return cells.reshape(n, n, n, 4, 4, 4).permute(0, 3, 1, 4, 2, 5).reshape([resolution] * 3)
