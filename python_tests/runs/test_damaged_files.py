"""Checkpoints and results that are damaged or contradict themselves are refused in one line."""

from __future__ import annotations

import json
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import TINY, train_tiny
from torch import Tensor

import dfast
from dfast.errors import RunFolderError
from dfast.io.tensors import read_tensors, write_tensors
from dfast.runs import folder, result_file
from dfast.runs.events import Event

pytestmark = pytest.mark.usefixtures("needs_native")

CHECKPOINT, RESULT = "checkpoint.safetensors", "result.safetensors"
CHANGES = {CHECKPOINT: (rb"step\": 2", rb"step\": 1"), RESULT: (b"a ball", b"a bull")}
"""Bytes of each file, and others of the same length."""
Tensors = dict[str, Tensor]
About = dict[str, Any]


def _stop(event: Event) -> None:
    if event.step == 2:
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, beside its checkpoint of step 2."""
    out = tmp_path_factory.mktemp("runs") / "run"
    with pytest.raises(KeyboardInterrupt):
        train_tiny(out=out, callbacks=[_stop])
    half = (out / CHECKPOINT).read_bytes()
    train_tiny(out=out, resume=True)
    (out / CHECKPOINT).write_bytes(half)
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged: the checkpoint is needed to finish it."""
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    return out


def _resume(out: Path) -> None:
    (out / RESULT).unlink(missing_ok=True)
    train_tiny(out=out, resume=True)


def _one_line(error: pytest.ExceptionInfo[RunFolderError]) -> str:
    text = str(error.value)
    assert "\n" not in text and len(text) < 1000
    return text


@pytest.mark.parametrize("name", [CHECKPOINT, RESULT])
@pytest.mark.parametrize("seed", range(5))
def test_a_flipped_bit_is_noticed(name: str, seed: int, run: Path) -> None:
    data = bytearray((run / name).read_bytes())
    start = 8 + struct.unpack("<Q", data[:8])[0]
    data[random.Random(seed).randrange(start, len(data))] ^= 1 << seed
    (run / name).write_bytes(data)
    with pytest.raises(RunFolderError, match=rf"{name}.*damaged.*hash") as error:
        _resume(run) if name == CHECKPOINT else dfast.load(run)
    _one_line(error)


@pytest.mark.parametrize("name", [CHECKPOINT, RESULT])
def test_changed_values_are_noticed(name: str, run: Path) -> None:
    old, new = CHANGES[name]
    data = (run / name).read_bytes()
    assert old in data
    (run / name).write_bytes(data.replace(old, new, 1))
    with pytest.raises(RunFolderError, match=f"{name}.*damaged"):
        _resume(run) if name == CHECKPOINT else dfast.load(run)


def _rewrite(path: Path, kind: str, change: Callable[[Tensors, About], object]) -> None:
    """Change what a file holds, and store the hash of that, as a program with a fault would."""
    tensors, about = read_tensors(path, kind)
    change(tensors, about)
    write_tensors(path, tensors, about)


def _fill(name: str, index: int, value: float) -> Callable[[Tensors, About], object]:
    def change(tensors: Tensors, about: About) -> None:
        tensors[name].view(-1)[index] = value

    return change


def _convert(name: str, convert: Callable[[Tensor], Tensor]) -> Callable[[Tensors, About], object]:
    def change(tensors: Tensors, about: About) -> None:
        tensors[name] = convert(tensors[name])

    return change


def _ones(tensors: Tensors, about: About) -> None:
    for name in list(tensors):
        if name.startswith(("field.", "adam.exp_avg")):
            tensors[name] = tensors[name].reshape(-1)[:1].clone()


def _set(*keys: str, value: Any) -> Callable[[Tensors, About], object]:
    def change(tensors: Tensors, about: About) -> None:
        table = about
        for key in keys[:-1]:
            table = table[key]
        table[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_fill("step", 0, 3), "step 3 in one place, 2 in another"),
        (_set("step", value=3), "step 2 in one place, 3 in another"),
        (_set("step", value=None), "step: expected 0 to 4, got None"),
        (_set("step", value="2"), "step: expected 0 to 4, got '2'"),
        (_set("step", value=2.0), "step: expected 0 to 4, got 2.0"),
        (_set("step", value=-1), "step: expected 0 to 4, got -1"),
        (_set("step", value=10**300), "step: expected 0 to 4, got 1000"),
        (_ones, r"expected float32 \[.*\] by its settings, got float32 \[1\]"),
        (_convert("field.table", Tensor.double), "field.table: expected float32 .*, got float64"),
        (_convert("field.mlp", Tensor.half), "field.mlp: expected float32 .*, got float16"),
        (_convert("guard.counts", Tensor.float), "guard.counts: expected int64"),
        (_convert("rng.host", lambda t: t[:9]), r"rng.host: expected .*, got uint8 \[9\]"),
        (lambda t, a: t.pop("adam.step"), "no tensor 'adam.step'"),
        (lambda t, a: t.update({"x" * 5000: torch.ones(1)}), "unknown tensor 'xxx"),
        (_fill("field.table", 3, float("nan")), "field.table holds numbers that are not finite"),
        (_fill("field.mlp", 3, float("inf")), "field.mlp holds numbers that are not finite"),
        (_fill("adam.exp_avg.field.mlp", 0, float("-inf")), "are not finite"),
        (_fill("adam.exp_avg_sq.field.mlp", 0, -1.0), "exp_avg_sq.field.mlp holds -1, less than 0"),
        (_fill("adam.step", 0, -3.0), "adam.step holds -3, less than 0"),
        (_fill("guard.counts", 0, -7), "guard.counts holds -7, less than 0"),
        (_fill("occupancy.density", 0, -5.0), "occupancy.density holds -5, less than -1"),
    ],
)
def test_a_checkpoint_that_cannot_be_is_refused(
    change: Callable[[Tensors, About], object], message: str, run: Path
) -> None:
    _rewrite(run / CHECKPOINT, folder.FORMAT, change)
    metrics = (run / "metrics.jsonl").read_bytes()
    with pytest.raises(RunFolderError, match=message) as error:
        _resume(run)
    assert CHECKPOINT in _one_line(error)
    assert (run / "metrics.jsonl").read_bytes() == metrics and not (run / "run.lock").exists()


HUGE = {"levels": 32, "features": 8, "log2_entries": 24} | dict.fromkeys(
    ("base_resolution", "max_resolution"), 512
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("config", "field", "grid", value=HUGE), r"\[536870912, 8\]"),
        (_set("config", "occupancy", "resolution", value=256), "occupancy.density: expected"),
        (_set("config", "occupancy", "resolution", value=10**9), "occupancy.resolution"),
        (_set("config", "field", "hidden", value=-1), "field.hidden"),
        (_set("config", "field", "hidden", value="x" * 5000), "field.hidden"),
        (_set("config", value=[]), "no settings"),
        (_set("config", value={"unknown": 1}), "unknown"),
        (_set("run", value=None), "expected prompt, seed, prior and steps"),
        (_set("run", "more", value=1), "expected prompt, seed, prior and steps"),
        (_set("run", "steps", value=-1), "steps: expected 0 to 4, got -1"),
        (_set("run", "steps", value=10**12), "steps: expected 0 to 4"),
        (_set("run", "steps", value=None), "steps: expected 0 to 4, got None"),
        (_set("run", "steps", value="4"), "steps: expected 0 to 4, got '4'"),
        (_set("run", "seed", value=-1), "seed: expected"),
        (_set("run", "prompt", value=None), "prompt: expected a text"),
        (_fill("field.table", 3, float("nan")), "field.table holds numbers that are not finite"),
        (_fill("field.mlp", 3, float("inf")), "field.mlp holds numbers that are not finite"),
        (_fill("occupancy.density", 9, float("inf")), "occupancy.density holds numbers"),
        (_convert("field.table", Tensor.half), "field.table: expected float32 .*, got float16"),
        (_convert("field.table", lambda t: t.to(torch.float8_e4m3fn)), "got F8_E4M3"),
        (_convert("occupancy.bits", Tensor.bool), "occupancy.bits: expected uint8 .*, got bool"),
        (_ones, r"field.table: expected float32 .*, got float32 \[1\]"),
        (lambda t, a: t.pop("field.mlp"), "no tensor 'field.mlp'"),
    ],
)
def test_a_result_that_cannot_be_is_refused(
    change: Callable[[Tensors, About], object], message: str, run: Path
) -> None:
    _rewrite(run / RESULT, result_file.FORMAT, change)
    with pytest.raises(RunFolderError, match=message) as error:
        dfast.load(run)
    assert RESULT in _one_line(error)


def _file(header: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + bytes(16)


def _metadata(text: str) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"dfast": text}}
    header["a"] = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    return _file(json.dumps(header).encode())


@pytest.mark.parametrize(
    "data",
    [
        _file(b"{}", 2**63),
        _file(b"{}", 99_000_000),
        _file(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,Infinity]}}'),
        _file(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,1e400]}}'),
        _file(b'{"a":{"dtype":"F32","shape":[4611686018427387904,8],"data_offsets":[0,16]}}'),
        _file(b'{"a":' * 100_000),
        _file(b'{"__metadata__":{"dfast":3}}'),
        _file(b"\xff\xfe"),
        *(_metadata(text) for text in ("[]", "3", "null", '"x"', "nan", "[" * 100_000, "9" * 5000)),
        *(_metadata(f'{{"format": {text}}}') for text in ("null", "[[[]]]", f'"{"x" * 5000}"')),
    ],
)
@pytest.mark.parametrize("name", [CHECKPOINT, RESULT])
def test_headers_that_cannot_be_are_refused(data: bytes, name: str, run: Path) -> None:
    (run / name).write_bytes(data)
    with pytest.raises(RunFolderError, match=name) as error:
        _resume(run) if name == CHECKPOINT else dfast.load(run)
    _one_line(error)


def test_what_was_written_is_accepted(run: Path, finished: Path) -> None:
    _resume(run)
    assert (run / RESULT).read_bytes() == (finished / RESULT).read_bytes()
    assert dfast.load(run).config == TINY
