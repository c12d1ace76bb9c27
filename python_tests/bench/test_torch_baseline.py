"""What is timed against each other computes the same: dfast, plain torch, diffusers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dfast import reference
from dfast.bench import inputs, step, torch_baseline
from dfast.bench.suite import cases
from dfast.nn.field import Field
from dfast.ops.grid_spec import GridSpec
from dfast.scene.scene import build_field

CPU = torch.device("cpu")


def test_gathered_encoding_is_the_reference() -> None:
    spec = GridSpec(5, 2, 9, 4, 64, "linear")
    assert any(spec.dense) and not all(spec.dense)
    x, table = inputs.uniform(CPU, 300, 3), inputs.normal(CPU, spec.entries, 2)
    x[0], x[1] = 0.0, 1.0
    table.requires_grad_()
    a = inputs.normal(CPU, 300, spec.outputs, seed=1)
    got, expected = (
        torch_baseline.gathered_encode(x, table, spec),
        reference.hash_encode(x, table, spec),
    )
    torch.testing.assert_close(got, expected)
    d_got, d_expected = (torch.autograd.grad(e, table, a)[0] for e in (got, expected))
    torch.testing.assert_close(d_got, d_expected)


@pytest.mark.usefixtures("needs_native")
def test_plain_fields_agree_with_the_field_to_second_order() -> None:
    """Compare values, gradients and second order of all fields that are timed."""
    config = step.FIELD.__class__(
        **{**vars(step.FIELD), "grid": step.FIELD.grid.__class__(4, 2, 9, 4, 32, "linear")}
    )
    field = build_field(config, inputs.generator())
    with torch.no_grad():
        field.table.mul_(3e3)  # values that matter
    x = 1.6 * inputs.uniform(CPU, 200, 3) - 0.8
    gradients = [inputs.normal(CPU, *shape) for shape in ((200,), (200, 3), (200, 3))]

    def results(net: Field | torch_baseline.TorchField) -> list[Tensor]:
        values = list(net(x, want_gradient=True))
        return [*values, *torch.autograd.grad(values, list(net.parameters()), gradients)]

    expected = results(field)
    with torch.no_grad():  # as the benchmark of value and normal asks
        bare = [
            torch_baseline.TorchField(field, gathered=g)(x, want_gradient=True)
            for g in (False, True)
        ]
    for values in bare:
        assert all(v is not None for v in values)
        torch.testing.assert_close(values.gradient, expected[2].detach(), rtol=1e-3, atol=1e-3)
    for gathered in (False, True):
        got = results(torch_baseline.TorchField(field, gathered=gathered))
        for mine, theirs in zip(expected, got, strict=True):
            error = (mine - theirs).detach().norm() / theirs.detach().norm()
            assert float(error) < 1e-4


@pytest.mark.usefixtures("needs_native")
@pytest.mark.parametrize("shading", list(step.SHADING_MODES))
def test_plain_step_has_the_gradients_of_dfasts(shading: str) -> None:
    """Allow 6 % of the norm.

    Positions differ by an ulp, 1e-7, hence the finest encodings by 1e-4 of themselves: in one
    sample of a hundred one of 128 ReLUs flips and changes its gradient by a third, 3 % in the norm.
    """
    mine = step.render_step(shading, 8, CPU).run()
    theirs = step.torch_step(shading, 8, CPU, gathered=True).run()
    assert isinstance(mine, tuple) and isinstance(theirs, tuple)
    for a, b in zip(mine, theirs, strict=True):
        assert float(b.norm()) > 0
        assert float((a - b).norm() / b.norm()) < 6e-2


@pytest.mark.usefixtures("needs_native")
def test_tuned_networks_do_the_same_work() -> None:
    results: dict[str, list[Tensor]] = {}
    for case in cases("cpu", "F", quick=True):
        work = case.build(CPU)
        result = work.run()
        assert isinstance(result, Tensor) and work.cost.flops > 1_000_000
        results.setdefault(case.workload, []).append(result)
    assert len(results) == 4
    for mine, theirs in results.values():
        assert float((mine - theirs).norm() / theirs.norm()) < 1e-4
