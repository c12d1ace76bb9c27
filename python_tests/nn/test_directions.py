"""Spherical harmonics: values, orthonormality, shapes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dfast.nn import SphericalHarmonics, spherical_harmonics


def directions(n: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, dtype=torch.float64, generator=generator)
    return nn.functional.normalize(x, dim=-1)


def test_the_first_bands_are_those_of_tiny_cuda_nn() -> None:
    d = directions(50)
    x, y, z = d.unbind(-1)
    expected = [
        torch.full_like(x, 0.28209479177387814),
        -0.48860251190291987 * y,
        0.48860251190291987 * z,
        -0.48860251190291987 * x,
        1.0925484305920792 * x * y,
        -1.0925484305920792 * y * z,
        0.94617469575755997 * z * z - 0.31539156525251999,
        -1.0925484305920792 * x * z,
        0.54627421529603959 * (x * x - y * y),
        0.59004358992664352 * y * (-3.0 * x * x + y * y),
        2.8906114426405538 * x * y * z,
        0.45704579946446572 * y * (1.0 - 5.0 * z * z),
        0.3731763325901154 * z * (5.0 * z * z - 3.0),
        0.45704579946446572 * x * (1.0 - 5.0 * z * z),
        1.4453057213202769 * z * (x * x - y * y),
        0.59004358992664352 * x * (-x * x + 3.0 * y * y),
    ]
    torch.testing.assert_close(spherical_harmonics(d, 4), torch.stack(expected, -1))


@pytest.mark.parametrize("degree", range(1, 9))
def test_orthonormal_on_the_sphere(degree: int) -> None:
    heights = 60  # Gauss-Legendre in z and equal steps around are exact for these products
    z, weight = torch.zeros(heights).double(), torch.zeros(heights).double()
    import numpy as np

    z, weight = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(heights))
    phi = torch.arange(40, dtype=torch.float64) * (2 * math.pi / 40)
    r = (1 - z * z).sqrt()[:, None]
    d = torch.stack([r * phi.cos(), r * phi.sin(), z[:, None].expand(-1, 40)], -1).reshape(-1, 3)
    w = (weight[:, None] * (2 * math.pi / 40)).expand(-1, 40).reshape(-1, 1)
    values = spherical_harmonics(d, degree)
    assert values.shape == (len(d), degree**2)
    torch.testing.assert_close(values.t() @ (w * values), torch.eye(degree**2).double())


def test_module_in_sequential_with_any_shape(device: torch.device) -> None:
    encode = SphericalHarmonics(3)
    model = nn.Sequential(encode, nn.Linear(encode.output_dim, 2)).to(device)
    d = directions(12).float().to(device)
    assert model(d.view(3, 4, 3)).shape == (3, 4, 2) and model(d[:0]).shape == (0, 2)
    assert not encode.state_dict() and "degree=3" in repr(encode)
    with torch.autocast(device.type, torch.bfloat16):
        assert encode(d.bfloat16()).dtype == torch.float32
        assert model(d).dtype == torch.bfloat16
    with pytest.raises(ValueError, match="degree"):
        SphericalHarmonics(0)


def test_gradcheck() -> None:
    x = directions(3).requires_grad_()
    assert torch.autograd.gradcheck(SphericalHarmonics(5), (x,), check_forward_ad=True)
