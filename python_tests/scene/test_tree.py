"""The tree map over nested dataclasses."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from dfast.scene.cameras import CameraBatch, orbit
from dfast.scene.lighting import fixed_lighting
from dfast.scene.tree import map_tensors, replace_tensors, tensors_of


@dataclass(frozen=True)
class Inner:
    """A leaf with a tensor, a missing tensor and a number."""

    a: Tensor
    b: Tensor | None
    number: int


@dataclass(frozen=True)
class Outer:
    """A tensor beside a dataclass."""

    first: Tensor
    inner: Inner


def _tree() -> Outer:
    return Outer(torch.tensor([1.0]), Inner(torch.tensor([2.0, 3.0]), None, 7))


def test_map_keeps_everything_but_the_tensors() -> None:
    tree = _tree()
    doubled = map_tensors(lambda values: 2.0 * values, tree)
    assert isinstance(doubled, Outer) and isinstance(doubled.inner, Inner)
    assert doubled.first.tolist() == [2.0] and doubled.inner.a.tolist() == [4.0, 6.0]
    assert doubled.inner.b is None and doubled.inner.number == 7
    assert tree.first.tolist() == [1.0]
    assert map_tensors(lambda values: values + 1, torch.zeros(1)).tolist() == [1.0]
    assert map_tensors(lambda values: values, 5) == 5


def test_tensors_come_in_the_order_of_the_fields_and_go_back() -> None:
    tree = _tree()
    tensors = tensors_of(tree)
    assert [values.tolist() for values in tensors] == [[1.0], [2.0, 3.0]]
    other = replace_tensors(tree, [torch.tensor([8.0]), torch.tensor([9.0])])
    assert other.first.tolist() == [8.0] and other.inner.a.tolist() == [9.0]
    back = replace_tensors(other, tensors)
    assert back.first is tree.first and back.inner.a is tree.inner.a


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_wrong_number_of_tensors_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"expected 2 tensors, got {count}"):
        replace_tensors(_tree(), [torch.zeros(1)] * count)


def test_cameras_and_lighting_move_whole(device: torch.device) -> None:
    cameras = orbit(3)
    lighting = fixed_lighting("diffuse", cameras)
    moved = cameras.to(device)
    assert isinstance(moved, CameraBatch) and len(tensors_of(moved)) == 6
    for a, b in zip(tensors_of(cameras), tensors_of(moved), strict=True):
        assert b.device.type == device.type and torch.equal(a, b.cpu())
    lit = lighting.to(device)
    assert lit.lit is True and len(tensors_of(lit)) == 4
    assert torch.equal(lit.light_position.cpu(), lighting.light_position)
