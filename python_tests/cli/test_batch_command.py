"""`dfast batch`: what it refuses at once, and its dry run."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from tiny_runs import TINY

from dfast.cli.main import main


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "runs.csv"
    path.write_text("prompt,seed,guidance.scale\na red cube,0,\na blue cone,3,20\n")
    return path


def test_a_dry_run_prints_the_table_and_writes_nothing(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    settings = tmp_path / "tiny.toml"
    TINY.save(settings)
    options = ["--device", "cpu", "--steps", "50", "--jobs", "2", "--config", str(settings)]
    assert main(["batch", str(table), "--out", str(out), *options, "--dry-run"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == [
        "a-red-cube-0: waiting, 'a red cube', seed 0, 50 steps",
        "a-blue-cone-3-guidance.scale-20: waiting, 'a blue cone', seed 3, 50 steps, "
        "guidance.scale=20",
    ]
    assert said[2].startswith("estimate for 2 runs, 2 at once on cpu; it may differ")
    assert any("a lost process (at most 2 a run)" in line for line in said[3:])
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--address", "auto"], "address: expected that of a cluster, with the engine 'ray'"),
        (["--jobs", "0"], "jobs: expected 1 to 4096, got 0"),
        (["--gpus-per-run", "0.5", "--device", "cpu"], "device: expected cuda beside"),
        (["--dry-run", "--download"], "--dry-run: expected without --download"),
        (["--set", "guidance.scael=3"], "config key 'guidance.scael': unknown"),
        (["--set", "guidance.negative=grey"], "negative: expected ''"),
        (["--seeds", "0"], "seeds: expected 1 to"),
        (["--only", "done"], "invalid choice: 'done'"),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_line(
    table: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    try:
        code = main(["batch", str(table), "--out", str(tmp_path / "out"), *options])
    except SystemExit as stop:  # by argparse
        code = int(stop.code or 0)
    assert code == 2
    line = capsys.readouterr().err
    assert message in line and line.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("variant='nfsd'", "row 2: config key 'guidance.variant': expected 'sds'"),
        ("perp_neg=true", "row 2: config key 'guidance.perp_neg': expected false"),
    ],
)
def test_a_guidance_that_the_prior_cannot_serve_is_refused_before_anything_starts(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, message: str
) -> None:
    out = tmp_path / "out"
    line = ["batch", str(table), "--out", str(out), "--set", f"guidance.{setting}"]
    for more in ([], ["--dry-run"]):
        assert main([*line, "--device", "cpu", *more]) == 2
        said = capsys.readouterr().err
        assert message in said and said.count("\n") == 1
    assert not out.exists() or not list(out.iterdir())


def test_a_file_in_place_of_the_folder_is_named(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["batch", str(table), "--out", str(table), "--device", "cpu"]) == 2
    assert f"out: expected a folder, got the file '{table}'" in capsys.readouterr().err


def test_a_run_is_no_folder_for_many(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").touch()
    assert main(["batch", str(table), "--out", str(tmp_path), "--device", "cpu"]) == 2
    assert "out: expected a folder for many runs" in capsys.readouterr().err


def test_ray_that_is_missing_is_named(
    table: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    line = ["batch", str(table), "--out", str(tmp_path / "out"), "--engine", "ray"]
    assert main(line) == 2
    said = capsys.readouterr().err
    assert "engine: expected Ray to be installed for 'ray'" in said and "dfast[ray]" in said


def test_a_cluster_that_does_not_answer_is_named(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray", reason='needs Ray: pip install "dfast[ray]"')
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        line = ["batch", str(table), "--out", str(tmp_path / "out"), "--engine", "ray"]
        assert main([*line, "--address", address]) == 2
    said = capsys.readouterr().err
    assert f"address: expected a Ray cluster at '{address}', got no answer" in said
