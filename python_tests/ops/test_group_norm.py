"""Group normalisation: the reference, gradients, storage types, layouts, cancellation."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from dfast import reference
from dfast.ops.group_norm import (
    Activation,
    _group_norm,
    _group_norm_backward,
    group_norm,
    group_norm_and_input,
)

pytestmark = pytest.mark.usefixtures("needs_native")

TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
SHAPES = [  # [B, C, H, W], groups
    ((2, 24, 9, 7), 4),  # whole vectors, ragged rows
    ((2, 30, 5, 5), 5),  # channels that no vector divides
    ((1, 35, 5, 5), 1),  # rows that end at odd addresses
    ((1, 16, 1, 3), 16),  # fewer rows than anything
    ((3, 6, 4, 4), 1),
    ((2, 320, 16, 16), 32),  # groups that straddle vectors
    ((1, 8, 150, 130), 2),  # many rows
]
BIG = [  # by one kernel up to 4095 rows, by two from 4096 on
    ((1, 64, 256, 256), 32),
    ((2, 960, 64, 64), 32),
    ((2, 320, 63, 65), 32),
    ((1, 3520, 32, 32), 32),
]


def make(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(0)
    batch, channels = shape[:2]
    sizes = {
        "x": shape, "weight": (channels,), "bias": (channels,), "add": (batch, channels),
        "scale_shift": (batch, 2 * channels), "dy": shape,
    }  # fmt: skip
    return {
        name: torch.randn(*size, generator=g, dtype=torch.float64).to(device, dtype)
        for name, size in sizes.items()
    }


def options(v: dict[str, Tensor], activation: str) -> dict[str, Any]:
    """What the three kinds of models ask for."""
    return {
        "silu": {"add": v["add"], "activation": "silu"},
        "gelu": {"add": v["bias"], "scale_shift": v["scale_shift"], "activation": "gelu"},
        "none": {"eps": 1e-6},
    }[activation]


def error(got: Tensor, want: Tensor) -> float:
    return float((got.double() - want).detach().norm() / want.detach().norm())


@pytest.mark.parametrize("activation", get_args(Activation))
@pytest.mark.parametrize("storage", TYPES)
@pytest.mark.parametrize(("shape", "groups"), SHAPES)
def test_equals_the_reference(
    shape: tuple[int, ...],
    groups: int,
    storage: torch.dtype,
    activation: str,
    device: torch.device,
) -> None:
    """Values and gradient within the rounding of what is stored."""
    compare(make(shape, storage, device), groups, activation)


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_cuda")
@pytest.mark.parametrize("storage", TYPES)
@pytest.mark.parametrize(("shape", "groups"), BIG)
def test_equals_the_reference_in_full_size(
    shape: tuple[int, ...], groups: int, storage: torch.dtype
) -> None:
    """Clusters of blocks, and two kernels where those do not suffice."""
    compare(make(shape, storage, torch.device("cuda")), groups, "silu")


def compare(v: dict[str, Tensor], groups: int, activation: str) -> None:
    exact = {name: tensor.double() for name, tensor in v.items()}
    x, wide = v["x"].requires_grad_(), exact["x"].requires_grad_()
    got = group_norm(x, groups, v["weight"], v["bias"], **options(v, activation))
    want = reference.group_norm(
        wide, groups, exact["weight"], exact["bias"], **options(exact, activation)
    )
    assert got.dtype == x.dtype and got.shape == x.shape
    rounding = torch.finfo(x.dtype).eps
    assert error(got, want) < 4 * rounding
    (dx,) = torch.autograd.grad(got, x, v["dy"])
    (wanted,) = torch.autograd.grad(want, wide, exact["dy"])
    assert dx.dtype == x.dtype and error(dx, wanted) < 16 * rounding


@pytest.mark.parametrize("activation", get_args(Activation))
def test_gradcheck(activation: str, device: torch.device) -> None:
    v = make((2, 6, 3, 2), torch.float64, device)
    torch.autograd.gradcheck(
        lambda x: group_norm(x, 3, v["weight"], v["bias"], **options(v, activation)),
        (v["x"].requires_grad_(),),
    )


@pytest.mark.parametrize("size", [(8, 8), (260, 250)])
def test_a_mean_far_from_zero_costs_nothing(device: torch.device, size: tuple[int, int]) -> None:
    """Sums of squares would have lost every digit of this variance."""
    v = make((1, 8, *size), torch.float32, device)
    x = 0.5 * v["x"] + 1000.0
    got = group_norm(x, 2, v["weight"], v["bias"])
    want = reference.group_norm(x.double(), 2, v["weight"].double(), v["bias"].double())
    spread = torch.finfo(torch.float32).eps * 1000.0 / 0.5
    assert error(got, want) < 2 * spread


def test_one_far_number_does_not_spoil_the_others(device: torch.device) -> None:
    """Differences are taken from one of the numbers, but not from one that lies apart."""
    v = make((1, 4, 64, 64), torch.float32, device)
    v["x"][:, :, 0, 0] = 100.0
    got = group_norm(v["x"], 2, v["weight"], v["bias"])
    want = reference.group_norm(v["x"].double(), 2, v["weight"].double(), v["bias"].double())
    assert error(got, want) < 2e-6


def test_a_flat_group_is_its_bias(device: torch.device) -> None:
    v = make((2, 8, 4, 4), torch.float32, device)
    x = torch.full_like(v["x"], 3.0).requires_grad_()
    y = group_norm(x, 2, v["weight"], v["bias"])
    torch.testing.assert_close(y, v["bias"][:, None, None].expand_as(y))
    (dx,) = torch.autograd.grad(y, x, v["dy"])
    assert bool(dx.isfinite().all())


def test_layouts(device: torch.device, dtype: torch.dtype) -> None:
    """Whatever the memory, the same numbers; rows of channels without a copy."""
    v = make((2, 16, 6, 5), dtype, device)
    weight, bias = v["weight"], v["bias"]
    want = group_norm(v["x"], 4, weight, bias)
    last = v["x"].contiguous(memory_format=torch.channels_last)
    sliced = torch.cat([v["x"], v["x"]], 1)[:, :16]
    for x in (last, sliced, v["x"].mT.contiguous().mT):
        y = group_norm(x, 4, weight, bias)
        assert torch.equal(y, want) and y.is_contiguous(memory_format=torch.channels_last)
    rows = last.movedim(1, -1).flatten(1, 2)  # [B, N, C]
    y = group_norm(rows.mT, 4, weight, bias).mT
    assert y.is_contiguous() and torch.equal(y, want.movedim(1, -1).flatten(1, 2))
    flat = group_norm(v["x"][:, :, 0, 0], 4, weight, bias)  # [B, C]
    torch.testing.assert_close(flat, reference.group_norm(v["x"][:, :, 0, 0], 4, weight, bias))


@pytest.mark.parametrize("shape", [(0, 8, 4, 4), (2, 8, 0, 4)])
def test_empty(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> None:
    v = make(shape, dtype, device)
    y = group_norm(v["x"].requires_grad_(), 2, v["weight"], v["bias"], activation="silu")
    assert y.shape == shape
    assert torch.autograd.grad(y, v["x"], v["dy"])[0].shape == shape


def test_the_same_bits_again(device: torch.device) -> None:
    """Whichever thread takes a piece of the rows."""
    v = make((2, 40, 50, 40), torch.float16, device)
    x = v["x"].requires_grad_()
    runs = []
    for _ in range(20):
        y = group_norm(x, 4, v["weight"], v["bias"], activation="silu")
        runs.append((y.detach(), torch.autograd.grad(y, x, v["dy"])[0]))
    for y, dx in runs[1:]:
        assert torch.equal(y, runs[0][0]) and torch.equal(dx, runs[0][1])


def test_threads_change_nothing() -> None:
    v = make((2, 8, 40, 40), torch.float32, torch.device("cpu"))
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(group_norm(v["x"], 2, v["weight"], v["bias"]))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


def test_bad_input() -> None:
    v = make((2, 8, 4, 4), torch.float32, torch.device("cpu"))
    x, weight, bias = v["x"], v["weight"], v["bias"]
    wrong: dict[str, Any] = {
        r"x must have shape \[B, C, ...\], got \[8\]": (weight, 2, weight, bias),
        "groups must divide the 8 channels of x, got 3": (x, 3, weight, bias),
        r"weight must have shape \[8\], got \[4\]": (x, 2, weight[:4], bias),
        "bias must be torch.float32, got torch.float64": (x, 2, weight, bias.double()),
    }
    for message, args in wrong.items():
        with pytest.raises(ValueError, match=message):
            group_norm(*args)
    for message, option in {
        r"add must have shape \[2, 8\], got \[1, 8\]": {"add": v["add"][:1]},
        r"scale_shift must have shape \[2, 16\], got \[2, 8\]": {"scale_shift": v["add"]},
        "eps must not be negative, got -1": {"eps": -1.0},
        "activation must be one of none, silu, gelu, got 'relu'": {"activation": "relu"},
        "add must not require a gradient": {"add": v["add"].clone().requires_grad_()},
    }.items():
        with pytest.raises(ValueError, match=message):
            group_norm(x, 2, weight, bias, **option)
    with pytest.raises(TypeError, match=r"got torch\.int64"):
        group_norm(x.long(), 2, weight.long(), bias.long())


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_cuda")
def test_groups_wider_than_a_block_are_refused() -> None:
    x = torch.zeros(1, 1030, 2, 2, device="cuda")
    with pytest.raises(ValueError, match="at most 256 channels a group, got 515"):
        group_norm(x, 2, x[0, :, 0, 0], x[0, :, 0, 0])


def test_opcheck(device: torch.device) -> None:
    v = make((2, 12, 8), torch.float32, device)  # rows [B, N, C]
    rows, rest = v["x"].mT.contiguous(), (v["weight"], v["bias"], v["add"], v["scale_shift"])
    torch.library.opcheck(_group_norm, (rows.requires_grad_(), *rest, 3, 1e-5, 1))
    stats = _group_norm(rows.detach(), *rest, 3, 1e-5, 1)[1]
    torch.library.opcheck(
        _group_norm_backward, (rows.detach(), *rest, stats, v["dy"].mT.contiguous(), None, 3, 1)
    )


@pytest.mark.parametrize("channels", [24, 30])
def test_rows_of_longer_ones(channels: int, device: torch.device, dtype: torch.dtype) -> None:
    """What is added, scaled and shifted may be a part of longer rows, at any offset."""
    v = make((3, channels, 5, 4), dtype, device)
    for offset, width in ((8, 128), (3, 131)):
        rows = torch.zeros(3, width, dtype=dtype, device=device)
        add, scale_shift = (rows.clone()[:, offset:] for _ in range(2))
        add[:, :channels], scale_shift[:, : 2 * channels] = v["add"], v["scale_shift"]
        parts = {"add": add[:, :channels], "scale_shift": scale_shift[:, : 2 * channels]}
        together, apart = (
            group_norm(v["x"], 6, v["weight"], v["bias"], **one)
            for one in ({k: v[k] for k in parts}, parts)
        )
        torch.testing.assert_close(apart, together, rtol=0, atol=0 if offset == 8 else 1e-5)
        x = v["x"].clone().requires_grad_()
        want, got = (
            torch.autograd.grad(group_norm(x, 6, v["weight"], v["bias"], **one).sum(), x)[0]
            for one in ({k: v[k] for k in parts}, parts)
        )
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("storage", TYPES)
@pytest.mark.parametrize(("shape", "groups"), SHAPES[:3])
def test_both_gradients_of_a_residual_are_added(
    shape: tuple[int, ...], groups: int, storage: torch.dtype, device: torch.device
) -> None:
    v = make(shape, storage, device)
    x, other = v["x"].requires_grad_(), v["dy"].flip(0)
    settings = {"add": v["bias"], "activation": "silu", "eps": 1e-3}
    arguments = (groups, v["weight"], v["bias"])
    y, same = group_norm_and_input(x, *arguments, **settings)
    assert torch.equal(y, group_norm(x, *arguments, **settings)) and torch.equal(same, x)
    (alone,) = torch.autograd.grad(y, x, v["dy"], retain_graph=True)
    (passed,) = torch.autograd.grad(same, x, other, retain_graph=True)
    (both,) = torch.autograd.grad((y, same), x, (v["dy"], other))
    assert torch.equal(passed, other)
    assert error(both, (alone.double() + other.double())) < 2 * torch.finfo(storage).eps
    with torch.no_grad():
        assert group_norm_and_input(x, *arguments)[1] is x


def test_a_group_beside_a_much_larger_one(device: torch.device, dtype: torch.dtype) -> None:
    """Groups of 10 channels share vectors of 8 or 4 numbers, and nothing else."""
    v = make((2, 40, 8, 8), dtype, device)
    v["x"][:, 10:20] *= 1e4
    got = group_norm(v["x"], 4, v["weight"], v["bias"])
    want = reference.group_norm(v["x"].double(), 4, v["weight"].double(), v["bias"].double())
    torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-4)
    v["x"][:, 10] = torch.inf
    rest = group_norm(v["x"], 4, v["weight"], v["bias"])[:, :10]
    torch.testing.assert_close(rest, got[:, :10])
