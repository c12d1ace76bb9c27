"""The field in a project of one's own: construction, shapes, autocast, state, half copies."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from dfast.nn import Adam, Field
from dfast.ops import FieldSpec, GridSpec

pytestmark = pytest.mark.usefixtures("needs_native")

SPEC = FieldSpec(GridSpec(levels=3, log2_entries=8, base_resolution=4, max_resolution=12), width=16)


def test_five_lines(device: torch.device) -> None:
    field = Field().to(device)
    optimizer = Adam(field.parameters(), lr=1e-2)
    density, albedo, gradient = field(torch.zeros(2, 5, 3, device=device))
    (density.sum() + albedo.sum()).backward()
    optimizer.step()
    assert density.shape == (2, 5) and albedo.shape == (2, 5, 3) and gradient is None


@pytest.mark.parametrize("lead", [(), (4,), (2, 3), (2, 0)])
def test_leading_dimensions(lead: tuple[int, ...], device: torch.device) -> None:
    field = Field(SPEC).to(device)
    x = torch.rand(*lead, 3).to(device) - 0.5
    out = field(x, want_gradient=True)
    flat = field(x.reshape(-1, 3), want_gradient=True)
    assert out[0].shape == lead and out[1].shape == out[2].shape == (*lead, 3)
    for a, b in zip(out, flat, strict=True):
        assert torch.equal(a.reshape(b.shape), b)
    assert field.density(x).shape == lead


@pytest.mark.parametrize("fused", [True, False])
def test_autocast(fused: bool, device: torch.device) -> None:
    spec = SPEC if fused else FieldSpec(SPEC.grid, width=17)
    field = Field(spec, normals="analytic" if fused else "finite").to(device)
    x = (torch.rand(6, 3).to(device) - 0.5).bfloat16()
    weights = torch.ones(3, device=device, dtype=torch.bfloat16)
    with torch.autocast(device.type, torch.bfloat16):
        out = field(x, want_gradient=True, level_weights=weights)
    assert all(v.dtype == torch.float32 for v in out)
    for a, b in zip(out, field(x.float(), want_gradient=True), strict=True):
        torch.testing.assert_close(a, b)
    out[0].sum().backward()
    assert field.table.grad.dtype == field.mlp.grad.dtype == torch.float32


def test_in_sequential_and_as_a_part_of_a_module() -> None:
    class Albedo(nn.Module):
        def forward(self, sample: tuple[Tensor, ...]) -> Tensor:
            return sample[1]

    model = nn.Sequential(Field(SPEC), Albedo(), nn.Linear(3, 1))
    assert model(torch.rand(2, 5, 3)).shape == (2, 5, 1)
    assert {"0.table", "0.mlp"} < set(model.state_dict())


def test_state_dict_and_deepcopy() -> None:
    field, other = Field(SPEC), Field(SPEC)
    x = torch.rand(5, 3)
    other.load_state_dict(field.state_dict())
    twin = copy.deepcopy(field)
    for made in (other, twin):
        assert torch.equal(made(x).albedo, field(x).albedo)
    with torch.no_grad():
        twin.mlp.zero_()
    assert not torch.equal(twin(x).albedo, field(x).albedo)


def test_gradient_of_each_point_and_of_ensembles() -> None:
    field = Field(SPEC).double()
    x = torch.rand(4, 3).double() - 0.5
    parameters = {name: p.detach() for name, p in field.named_parameters()}

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(field, parameters, (x[None],)).albedo.square().sum()

    each = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    for i in range(4):
        expected = torch.autograd.grad(field(x[i : i + 1]).albedo.square().sum(), field.mlp)[0]
        torch.testing.assert_close(each["mlp"][i], expected)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, Adam])
def test_the_half_copy_follows_any_optimiser(optimizer: type, device: torch.device) -> None:
    field = Field(SPEC, precision="half").to(device)
    x = torch.rand(40, 3).to(device) - 0.5
    field(x)
    assert field.table_half is not None
    address = field.table_half.data_ptr()
    step = optimizer(field.parameters(), lr=0.1)
    field(x).albedo.square().sum().backward()
    step.step()
    field(x)
    assert (
        torch.equal(field.table_half, field.table.half()) and field.table_half.data_ptr() == address
    )
    before = field.table_half._version
    field(x)
    assert field.table_half._version == before, "the copy is made once a change"
