"""`dfast doctor` with and without what it looks for."""

from __future__ import annotations

from pathlib import Path

import pytest

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
