"""`dfast doctor` with and without what it looks for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dfast import _native
from dfast.cli import doctor
from dfast.cli.main import main


def test_doctor_names_what_is_missing_and_how_to_fix_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "weights_folder", lambda: tmp_path)
    monkeypatch.setattr(doctor, "REQUIRED", ("numpy", "no-such-package"))
    assert main(["doctor"]) == 1
    text = capsys.readouterr().out
    assert "pip install no-such-package" in text and "[missing] prior" in text and "torch" in text
    (tmp_path / "model.safetensors").write_bytes(b"x")
    monkeypatch.setattr(doctor, "REQUIRED", ("numpy",))
    monkeypatch.setattr(doctor, "_native", lambda: iter(()))
    assert main(["doctor"]) == 0


@pytest.mark.parametrize(
    ("quota", "spin", "words"),
    [
        (None, False, ["of 8 CPUs", "no quota", "passive"]),
        (1.5, False, ["quota of 1.5 CPUs", "[  ok   ] threads"]),
        (0.5, True, ["quota of 0.5 CPUs: more threads than may run", "OMP_NUM_THREADS=1"]),
        (None, True, ["[ note  ] waiting", "busy: torch was imported before dfast; slow beside"]),
    ],
)
def test_doctor_tells_threads_quota_and_waiting(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    quota: float | None,
    spin: bool,
    words: list[str],
) -> None:
    usable = 8 if quota is None else max(1, int(quota + 0.5))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(doctor, "affinity", lambda: set(range(8)))
    monkeypatch.setattr(doctor, "cpu_quota", lambda: quota)
    monkeypatch.setattr(doctor, "usable_cpus", lambda: usable)
    monkeypatch.setattr(doctor, "threads_may_spin", lambda: spin)
    policy = "busy: torch was imported before dfast" if spin else "passive"
    monkeypatch.setattr(doctor, "wait_policy", lambda: policy)
    main(["doctor"])
    text = capsys.readouterr().out
    for word in words:
        assert word in text


def test_doctor_repeats_why_there_are_no_cuda_kernels(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = "DFAST_CUDA=AUTO: /usr/bin/nvcc failed: error: -- unsupported GNU version!"
    build = {"cuda": False, "no_cuda": reason, "compiler": "12.2.0", "cpu_arch": "x86-64-v3"}
    monkeypatch.setattr(_native, "build_info", lambda: build)
    main(["doctor"])
    assert reason in capsys.readouterr().out
