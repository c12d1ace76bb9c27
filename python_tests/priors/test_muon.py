"""Muon: orthogonal steps, of matrices and convolutions, and which parameters they are for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dfast.priors.embedded.training.muon import Muon, hidden, orthogonalize


@pytest.mark.parametrize("shape", [(3, 8, 40), (2, 40, 8), (1, 16, 24)])
def test_singular_values_are_near_one_and_vectors_stay(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    matrices[:, :, 0] *= 30.0
    found = orthogonalize(matrices)
    assert found.shape == matrices.shape and found.dtype == torch.float32
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    inner = u.mT @ found @ vh.mT  # diagonal, where the singular vectors are the same
    values = inner.diagonal(dim1=1, dim2=2)
    assert float(values.min()) > 0.3 and float(values.max()) < 1.4
    assert float((inner - torch.diag_embed(values)).abs().max()) < 0.1  # bfloat16


def test_a_gradient_of_zeros_changes_nothing_but_the_decay() -> None:
    weight = nn.Parameter(torch.ones(4, 6))
    weight.grad = torch.zeros(4, 6)
    Muon([weight], 0.5, weight_decay=0.1).step()
    assert torch.equal(weight.detach(), torch.full((4, 6), 0.95))


def test_a_convolution_steps_as_its_matrix_in_any_memory_format() -> None:
    generator = torch.Generator().manual_seed(1)
    start, gradient = torch.randn(2, 4, 6, 3, 3, generator=generator).unbind()

    def after(weight: Tensor, its_gradient: Tensor) -> Tensor:
        parameter = nn.Parameter(weight.clone(memory_format=torch.preserve_format))
        optimizer = Muon([parameter], 0.02)
        for scale in (1.0, 0.2, -3.0):
            parameter.grad = its_gradient * scale
            optimizer.step()
        return parameter.detach()

    plain = after(start, gradient)
    last = {"memory_format": torch.channels_last}
    assert torch.equal(after(start.to(**last), gradient.to(**last)), plain)
    rows = [t.permute(0, 2, 3, 1).flatten(1) for t in (start, gradient, plain)]
    assert torch.equal(after(rows[0], rows[1]), rows[2])
    assert float((plain - start).norm()) > 0.02


def test_parameters_of_one_shape_do_not_meet() -> None:
    generator = torch.Generator().manual_seed(2)
    weights = torch.randn(3, 5, 7, generator=generator)
    gradients = torch.randn(3, 5, 7, generator=generator)

    def after(which: list[int]) -> list[Tensor]:
        parameters = [nn.Parameter(weights[i].clone()) for i in which]
        for parameter, i in zip(parameters, which, strict=True):
            parameter.grad = gradients[i]
        Muon(parameters, 0.1).step()
        return [p.detach() for p in parameters]

    together = after([0, 1, 2])
    for i in range(3):
        torch.testing.assert_close(after([i])[0], together[i], rtol=1e-2, atol=1e-3)


def test_hidden_layers_are_told_from_the_others() -> None:
    model = nn.ModuleDict(
        {
            "conv_in": nn.Conv2d(3, 4, 3),
            "block": nn.Sequential(nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4), nn.Linear(4, 4)),
            "time_embedding": nn.Linear(4, 4),
        }
    )
    matrices, others = hidden(model)
    block = model["block"]
    assert [p is q for p, q in zip(matrices, (block[0].weight, block[2].weight), strict=True)]
    assert len(matrices) + len(others) == len(list(model.parameters()))


def test_a_regression_falls() -> None:
    generator = torch.Generator().manual_seed(3)
    x, answer = torch.randn(512, 24, generator=generator), torch.randn(8, 24, generator=generator)
    weight = nn.Parameter(torch.zeros(8, 24))
    optimizer = Muon([weight], 0.3, weight_decay=0.0)
    for i in range(120):
        optimizer.param_groups[0]["lr"] = 0.3 * (1 - i / 120)
        optimizer.zero_grad()
        (x @ (weight - answer).T).square().mean().backward()
        optimizer.step()
    assert float((weight.detach() - answer).norm()) < 0.1 * float(answer.norm())
