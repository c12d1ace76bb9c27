"""Precisions that a host sets for its own products: dfast computes the same bytes in spite of them.

The CUDA half needs a GPU with TF32 (compute capability 8.0); `runs/test_hosts.py` and
`priors/test_ambient.py` have the other states of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from oracle import OraclePrior
from tiny_runs import TINY, train_tiny
from torch import Tensor
from torch.nn import functional as F

from dfast.ops.ambient import neutral_torch_state, products_like_convolutions

pytestmark = pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN")
NEW = hasattr(torch.backends, "fp32_precision")
"""Whether this torch has the interface of 2.9."""


@contextmanager
def backend(path: str, name: str, value: Any) -> Iterator[None]:
    """Set an attribute of `torch.backends`, and give it back."""
    owner = attrgetter(path)(torch.backends) if path else torch.backends
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def matmul_precision(value: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(value)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.fixture(autouse=True)
def without_own() -> None:
    """Let products have no precision of their own, which the old interface leaves behind."""
    for path in ("cuda.matmul", "mkldnn.matmul", "mkldnn.conv") if NEW else ():
        attrgetter(path)(torch.backends).fp32_precision = "none"


STATES: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "allow_tf32": lambda: backend("cuda.matmul", "allow_tf32", True),
    "high": lambda: matmul_precision("high"),
    "medium": lambda: matmul_precision("medium"),
    "no tf32 in cudnn": lambda: backend("cudnn", "allow_tf32", False),
    "benchmark": lambda: backend("cudnn", "benchmark", True),
    "half sums": lambda: backend("cuda.matmul", "allow_fp16_reduced_precision_reduction", False),
    "bfloat16 sums": lambda: backend(
        "cuda.matmul", "allow_bf16_reduced_precision_reduction", False
    ),
}
NEW_STATES: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "everything tf32": lambda: backend("", "fp32_precision", "tf32"),
    "everything bf16": lambda: backend("", "fp32_precision", "bf16"),
    "all of cuda tf32": lambda: backend("cudnn", "fp32_precision", "tf32"),
    "matmul tf32": lambda: backend("cuda.matmul", "fp32_precision", "tf32"),
    "convolution ieee": lambda: backend("cudnn.conv", "fp32_precision", "ieee"),
    "all of the cpu bf16": lambda: torch.backends.mkldnn.flags(True, fp32_precision="bf16"),
}
EVERY = STATES | (NEW_STATES if NEW else {})
OTHER_PRODUCTS = {
    "cuda": [
        "allow_tf32",
        "high",
        "medium",
        "no tf32 in cudnn",
        "matmul tf32",
        "convolution ieee",
    ]
}
"""States in which products of the host on a device have other bits, where the device has TF32."""


def settings() -> dict[str, Any]:
    """Return the settings of the process; "ieee" and "none" mean the same where nothing else is."""
    found: dict[str, Any] = {
        "benchmark": torch.backends.cudnn.benchmark,
        "half": torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction,
        "bfloat16": torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction,
    }
    if not NEW:
        cudnn, matmul = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
        return found | {"cudnn": cudnn, "matmul": matmul}
    parts = ("cuda.matmul", "cudnn", "cudnn.conv", "mkldnn", "mkldnn.matmul", "mkldnn.conv")
    found |= {part: attrgetter(part)(torch.backends).fp32_precision for part in parts}
    found["everything"] = torch.backends.fp32_precision
    return {name: "none" if value == "ieee" else value for name, value in found.items()}


def numbers(*shape: int, device: torch.device) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(device)


def products(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return a product of float32 matrices and a float32 convolution."""
    square, image = numbers(256, 256, device=device), numbers(2, 64, 32, 32, device=device)
    return square @ square, F.conv2d(image, numbers(64, 64, 3, 3, device=device))


class Products(OraclePrior):
    """An oracle whose answer also depends on the precision of products."""

    def predict_noise(self, noisy: Tensor, *args: Any, **options: Any) -> Tensor:
        matrix, convolved = products(noisy.device)
        blur = 1e-3 * (matrix[:12, :12] + convolved[0, 0, :12, :12])
        return super().predict_noise(noisy, *args, **options) + blur


def made(device: torch.device, out: Path) -> dict[str, bytes]:
    """Return what a short run writes, and a render of its result.

    Algorithms are deterministic, so that CUDA sums in one order, and the field is made of products.
    """
    config = TINY.replace(field={"hidden": 24}, train={"cuda_graphs": False})
    torch.use_deterministic_algorithms(True)
    try:
        result = train_tiny(prior=Products(12), device=str(device), config=config, out=out)
        image = result.render(resolution=24)
    finally:
        torch.use_deterministic_algorithms(False)
    files = ("checkpoint.safetensors", "result.safetensors")
    return {name: (out / name).read_bytes() for name in files} | {"image": image.tobytes()}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Callable[[torch.device], dict[str, bytes]]:
    """Return what is made in a fresh state, by device; made twice to see that it can be equal."""
    known: dict[str, dict[str, bytes]] = {}

    def of(device: torch.device) -> dict[str, bytes]:
        if device.type not in known:
            first, again = (made(device, tmp_path_factory.mktemp("plain") / "run") for _ in "12")
            assert first == again
            known[device.type] = first
        return known[device.type]

    return of


@pytest.mark.usefixtures("needs_native")
@pytest.mark.parametrize("state", EVERY)
def test_the_same_bytes_whatever_precision_the_host_has(
    state: str,
    device: torch.device,
    plain: Callable[[torch.device], dict[str, bytes]],
    tmp_path: Path,
) -> None:
    expected, fresh = plain(device), products(device)
    with EVERY[state]():
        if state in OTHER_PRODUCTS.get(device.type, ()) and _has_tf32(device):
            changed = zip(products(device), fresh, strict=True)
            assert not all(torch.equal(a, b) for a, b in changed), "the state has no effect here"
        found = made(device, tmp_path / "run")
    assert [name for name in expected if found[name] != expected[name]] == []


def _has_tf32(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= (8, 0)


@pytest.mark.parametrize("state", EVERY)
def test_the_host_has_its_own_settings_again(state: str) -> None:
    fresh = settings()
    with EVERY[state]():
        own = settings()
        assert own != fresh
        with neutral_torch_state():
            assert settings() == fresh
        assert settings() == own
    assert settings() == fresh  # nothing of the host's was made to stay


@pytest.mark.parametrize("neutral", [True, False])
@pytest.mark.parametrize("state", EVERY)
def test_products_follow_convolutions_for_a_block(state: str, neutral: bool) -> None:
    """In TF32 where convolutions are, and the host has its own settings again."""
    like: Any = SimpleNamespace(dtype=torch.float32, device=torch.device("cuda"))
    key = ("cudnn.conv", "cuda.matmul") if NEW else ("cudnn", "matmul")
    with EVERY[state](), neutral_torch_state() if neutral else nullcontext():
        before = settings()
        with products_like_convolutions(like):
            found = settings()
            if before[key[0]] in ("tf32", True):
                assert found[key[1]] == ("tf32" if NEW else "high")
            else:
                assert found == before
        assert settings() == before
        for other in ("cpu", torch.float32), ("cuda", torch.float16):
            like = SimpleNamespace(dtype=other[1], device=torch.device(other[0]))
            with products_like_convolutions(like):
                assert settings() == before
