"""Tensor files: what is read is what was written, and damage is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dfast.errors import RunFolderError
from dfast.io.tensors import read_tensors, write_bytes, write_tensors

ABOUT = {"format": "test", "config": {"steps": 3}, "prompt": "a"}


def test_tensors_and_values_survive(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.safetensors"
    stored = {"a": torch.arange(6.0).view(2, 3).T, "b.c": torch.tensor([1, 2], dtype=torch.uint8)}
    write_tensors(path, stored, ABOUT)
    tensors, about = read_tensors(path, "test")
    assert about == ABOUT and tensors.keys() == stored.keys()
    for name, value in stored.items():
        assert torch.equal(tensors[name], value) and tensors[name].dtype == value.dtype


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_tensors(tmp_path / name, {"x": torch.ones(3), "y": torch.zeros(2)}, ABOUT)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_wrong_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(RunFolderError, match="no such file"):
        read_tensors(path, "test")
    write_tensors(path, {"x": torch.ones(3)}, ABOUT)
    with pytest.raises(RunFolderError, match="expected a 'other' file, got 'test'"):
        read_tensors(path, "other")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(RunFolderError, match="damaged or cut short"):
        read_tensors(path, "test")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_bytes(path, b"old")
    with pytest.raises(RunFolderError, match="cannot be written"):
        write_bytes(path / "below", b"new")
    assert path.read_bytes() == b"old"
