"""The native boundary: fields by name, clear errors, and constants that both languages share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from dfast import _native
from dfast.ops import adam, field_spec, group_norm

pytestmark = pytest.mark.usefixtures("needs_native")


def merge_fields(**changes: Any) -> dict[str, Any]:
    """Return valid fields of the launcher `merge`, with changes; a field set to ... is left out."""
    a, b, bias = torch.ones(2, 3), torch.full((2, 3), 2.0), torch.tensor([1.0, 2.0, 3.0])
    fields = {
        "a": a, "b": b, "bias": bias, "rows": 2, "channels": 3, "factor": 0.5,
        "y": torch.empty(2, 3),
    }  # fmt: skip
    return {name: value for name, value in (fields | changes).items() if value is not ...}


def call_merge(**changes: Any) -> Tensor:
    """Run `merge` with changed fields and return its result."""
    fields = merge_fields(**changes)
    _native.call("merge", like=torch.ones(1), **fields)
    y: Tensor = fields["y"]
    return y


def test_fields_are_matched_by_name() -> None:
    expected = torch.tensor([2.0, 2.5, 3.0]).expand(2, 3)
    assert torch.equal(call_merge(), expected)
    backwards = dict(reversed(merge_fields().items()))
    _native.call("merge", like=torch.ones(1), **backwards)
    assert torch.equal(backwards["y"], expected)


@pytest.mark.parametrize("name", ["a", "bias", "rows", "factor", "y"])
def test_missing_field(name: str) -> None:
    with pytest.raises(TypeError, match=f"^dfast.merge misses its field '{name}'$"):
        call_merge(**{name: ...})


def test_unknown_field() -> None:
    with pytest.raises(TypeError, match=r"^dfast\.merge has no field 'scale'$"):
        call_merge(scale=1.0)


def test_misspelt_field() -> None:
    with pytest.raises(TypeError, match=r"^dfast\.merge misses its field 'bias', but got 'bais'$"):
        call_merge(bias=..., bais=torch.ones(3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 2.0}, "takes an int in range for its field 'rows', got float"),
        ({"rows": 2**63}, "takes an int in range for its field 'rows', got int"),
        ({"rows": None}, "takes an int in range for its field 'rows', got NoneType"),
        ({"factor": "half"}, "takes a number for its field 'factor', got str"),
        ({"a": 0.5}, r"takes an address \(int\) or None for its field 'a', got float"),
        ({"a": 2**70}, r"takes an address \(int\) or None for its field 'a', got int"),
        ({"factor": 10**400}, "takes a number for its field 'factor', got int"),
        ({"a": [1]}, r"takes an address \(int\) or None for its field 'a', got list"),
    ],
)
def test_wrong_type(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=f"^dfast.merge {message}$"):
        call_merge(**change)


def test_wrong_type_of_other_kinds() -> None:
    status, empty = torch.zeros(4), torch.zeros(1025, dtype=torch.float64)
    with pytest.raises(TypeError, match=r"gradient_norm takes a list, .* for its field 'entries'"):
        _native.call(
            "gradient_norm", like=status, grads=[status], entries=4, workspace=empty, status=status
        )
    with pytest.raises(TypeError, match=r"gradient_norm takes a list, .* for its field 'entries'"):
        _native.call(
            "gradient_norm", like=status, grads=[status], entries=[4.0], workspace=empty,
            status=status,
        )  # fmt: skip
    grid = {"n": 0, "x": None, "table": None, "table_half": None, "level_weights": None}
    with pytest.raises(TypeError, match="takes an object of the extension for its field 'grid'"):
        _native.call("hash_encode", like=status, grid=7, **grid, out=None)


def test_null_and_zero_addresses_are_the_same() -> None:
    """An empty call reads no pointer, so that null is fine for all of them."""
    for null in (None, 0):
        call_merge(a=null, b=null, bias=null, rows=0)


def test_non_contiguous_tensor() -> None:
    with pytest.raises(ValueError, match=r"merge needs its field 'b' contiguous on cpu, got str"):
        call_merge(b=torch.ones(3, 2).t())
    with pytest.raises(ValueError, match=r"gradient_norm needs its field 'grads' contiguous"):
        status = torch.zeros(4)
        _native.call("gradient_norm", like=status, grads=[torch.ones(3, 2).t()])


def test_other_device() -> None:
    with pytest.raises(
        ValueError, match=r"merge needs its field 'a' contiguous on cpu, got .*meta"
    ):
        call_merge(a=torch.ones(2, 3, device="meta"))
    with pytest.raises(TypeError, match="run on cpu and cuda tensors, got one on meta"):
        _native.call("merge", like=torch.ones(1, device="meta"))


def test_temporaries_live_until_the_call_returns() -> None:
    for _ in range(100):
        y = call_merge(a=torch.ones(3, 2).t().contiguous(), b=torch.full((3, 2), 2.0).view(2, 3))
        assert torch.equal(y, torch.tensor([2.0, 2.5, 3.0]).expand(2, 3))


def test_constants_agree_with_python() -> None:
    status = _native.constant("adam_status")
    names = {"norm": adam.NORM, "step": adam.STEP, "skipped": adam.SKIPPED, "streak": adam.STREAK}
    assert status == names
    assert _native.constant("field_outputs") == field_spec.OUTPUTS
    assert tuple(_native.constant("field_activations")) == get_args(field_spec.Activation)
    assert tuple(_native.constant("field_blobs")) == get_args(field_spec.Blob)
    kinds = get_args(sys.modules[group_norm.__module__].Activation)
    assert tuple(_native.constant("group_norm_activations")) == kinds


def test_sizes_of_scratch_memory() -> None:
    library = _native.library()
    words = library.field_saved_words
    shape = {"levels": 12, "width": 128, "layers": 3}
    assert words(**shape, gradient=False, keeps_jacobian=False) == 3 * 2 + 2 * 4
    assert words(**shape, gradient=True, keeps_jacobian=True) == 3 * 2 + 2 * 16
    assert words(**shape, gradient=True, keeps_jacobian=False) == 3 * 2
    size = library.field_workspace_words
    shape = {"levels": 3, "chunk": 256, "parts": 64, "parameters": 100}
    assert size(**shape, gradient=True) == (2 * 3 + 1) * 256 + 64 * 100
    assert size(**shape, gradient=False) == (3 + 1) * 256 + 64 * 100
    assert [library.march_sums(rays=rays) for rays in (0, 1, 8, 9)] == [0, 2, 2, 4]


PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def test_zeros_are_like_a_tensor(device: torch.device) -> None:
    for like in (torch.ones(2, device=device), torch.ones(2, dtype=torch.float64, device=device)):
        for shape in ((0, 2), (3, 2), (1 << 20, 2)):
            found = _native.zeros(shape, like)
            assert found.shape == shape and (found.dtype, found.device) == (like.dtype, like.device)
            assert found.is_contiguous() and not found.any()


@pytest.mark.skipif(
    not PAGES.exists() or "[madvise]" not in PAGES.read_text(), reason="needs pages on request"
)
def test_long_zeros_lie_in_large_pages() -> None:
    """In a process of its own: where malloc gives memory again, its pages are what they were."""
    code = """
import torch
from dfast import _native

def large_kib():
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    return int(next(line for line in lines if line.startswith("AnonHugePages")).split()[1])

like, before = torch.ones(1), large_kib()
found = _native.zeros((16_000_000,), like)
print(large_kib() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert int(done.stdout) > 48_000  # of 62 500


def test_ops_import_without_an_extension() -> None:
    """Importing works; the first call, and reading a constant, explain what is missing."""
    code = """
import sys
sys.modules["dfast._C"] = None
import torch
import dfast.ops, dfast.reference
from dfast.errors import NativeMissingError
from dfast.ops import geglu
from dfast.ops.adam import max_tensors
for call in (lambda: geglu(torch.ones(2)), max_tensors):
    try:
        call()
    except NativeMissingError as error:
        assert "pip install" in str(error)
    else:
        raise AssertionError("no error")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
