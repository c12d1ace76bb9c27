"""Which folders hold a build that can be compared with, and the comparison of two builds."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import pytest
from child_processes import alive, children

import dfast
from dfast.bench import builds, versus
from dfast.bench.process import same_imports
from dfast.cli.main import main
from dfast.errors import ConfigError

HELP = "options: --device --workloads --quick --out"
PLACE = {"commit": "0.0.1", "gpu": None, "processor": "CPU", "threads": 1, "torch": "2"}
CLI = """
import json, os, pathlib, signal, sys, time

def main():
    if "--help" in sys.argv:
        print({help!r})
        return 0
    file = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
    print("[1/1] a line of progress", file=sys.stderr, flush=True)
    calls = pathlib.Path(__file__).with_name("calls")
    with calls.open("a") as log:
        log.write(" ".join(sys.argv[1:-1]) + "\\n")
    {act}
    print("dfast: error: the stub measures nothing", file=sys.stderr)
    return 2
"""


def _stub(folder: Path, *, help: str = HELP, act: str = "pass", extension: bool = True) -> Path:
    """Write a package that has a `dfast bench`, which does `act`, and return its folder."""
    package = folder / "dfast"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('__version__ = "0.0.1"\n')
    (package / "cli.py").write_text(CLI.format(help=help, act=act))
    if extension:
        (package / f"_C{EXTENSION_SUFFIXES[0]}").touch()
    return folder


def _writes(*records: dict[str, Any], code: int = 0) -> str:
    """Return the act of a stub that has measured records."""
    made = json.dumps([PLACE | record for record in records]).replace("null", "None")
    return f"file.write_text(json.dumps({made})); return {code}"


def _record(
    ms: float | None, variant: str = "dfast", workload: str = "B-march-32"
) -> dict[str, Any]:
    """Return what a build records of a case; without a time it failed."""
    found: dict[str, Any] = {"wall_ms": ms} if ms else {"error": "RuntimeError: no"}
    return {"workload": workload, "variant": variant} | found


def _builds(old: Path, new: Path) -> tuple[builds.Build, builds.Build]:
    """Return two stubs as the old and the new build."""
    made = builds.other_build(str(new))
    as_new = builds.Build("new", made.package, made.version, made.python, made.environment)
    return builds.other_build(str(old)), as_new


def test_folders_without_a_usable_build_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, empty, venv = tmp_path / "file", tmp_path / "empty", tmp_path / "venv"
    file.touch()
    empty.mkdir()
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    (venv / "bin" / "python").chmod(0o755)
    wrong = {
        "no such folder": tmp_path / "gone",
        "a file": file,
        "there is neither dfast/__init__.py nor bin/python": empty,
        "there is no dfast in it": venv,
        "its compiled extension dfast/_C for Python 3.": _stub(tmp_path / "a", extension=False),
        "its `dfast bench` is too old, it has no --out": _stub(tmp_path / "b", help=HELP[:-5]),
        "it fails: SyntaxError": _stub(tmp_path / "c", act=")"),
    }
    for message, folder in wrong.items():
        assert main(["bench", "--device", "cpu", "--against", str(folder)]) == 2
        err = capsys.readouterr().err
        assert err.startswith("dfast: error: --against: expected a virtual environment") and (
            message in err
        )
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--against", "x", "--prior", "sd15"], "--prior: expected no --against"),
        (["--against", "x", "--profile", "y"], "--profile: expected no --against"),
        (["--against", "x", "--set", "a=1"], "--set: expected with --prior"),
        (["--against", "x", "--rounds", "0"], "--rounds: expected a whole number >= 1, got 0"),
        (["--rounds", "2"], "--rounds: expected with --against"),
    ],
)
def test_options_that_do_not_go_together(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--device", "cpu", *options]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_a_virtual_environment_runs_by_its_own_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither this process's modules nor the name of its commit reach it."""
    package = _stub(tmp_path / "venv")
    shutil.move(package / "dfast", package / "site")
    (package / "bin").mkdir()
    python = package / "bin" / "python"
    python.write_text(
        f'#!/bin/sh\n[ -z "$PYTHONPATH$DFAST_COMMIT" ] || exit 3\n'
        f"mkdir -p {package}/lib; ln -sfn {package}/site {package}/lib/dfast\n"
        f'PYTHONPATH={package}/lib exec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    monkeypatch.setenv("DFAST_COMMIT", "mine")
    build = builds.other_build(str(package))
    assert (build.python, build.version) == (str(python), "0.0.1")
    assert Path(build.package) == package / "lib" / "dfast"


def test_a_build_chooses_how_its_own_threads_wait() -> None:
    """`import dfast` sets a variable for this process, which an older dfast would obey."""
    code = """
import os, dfast
from dfast.bench.process import same_imports
print(os.environ["OMP_WAIT_POLICY"], same_imports().get("OMP_WAIT_POLICY"))
"""
    environment = same_imports()
    for name in ("OMP_WAIT_POLICY", "KMP_BLOCKTIME", "GOMP_SPINCOUNT"):
        environment.pop(name, None)
    command = [sys.executable, "-P", "-c", code]
    assert subprocess.check_output(command, env=environment, text=True) == "PASSIVE None\n"


def test_two_builds_are_measured_in_turn(tmp_path: Path) -> None:
    old = _stub(tmp_path / "old", act=_writes(_record(4.0), _record(2.0, "torch reference")))
    new = _stub(tmp_path / "new", act=_writes(_record(3.0), _record(1.0, "dfast eager")))
    said: list[str] = []
    out = tmp_path / "new folder" / "x.json"
    arguments = ["--device", "cpu", "--quick"]
    result = versus.run(_builds(old, new), arguments, rounds=2, out=out, say=said.append)
    turns = [f"round {n} of 2, {name}" for n in (1, 2) for name in ("old", "new")]
    assert said == [f"{turn}: [1/1] a line of progress" for turn in turns]
    for folder in (old, new):
        assert (folder / "dfast" / "calls").read_text() == 2 * "bench --device cpu --quick --out\n"
    assert json.loads(out.read_text()) == result
    assert [(r["build"], r["round"]) for r in result["records"][::2]] == [
        (name, n) for n in (1, 2) for name in ("old", "new")
    ]
    lines = versus.table(result).splitlines()
    assert lines[0] == f"old: dfast 0.0.1, CPU, 1 threads, torch 2, {old / 'dfast'}"
    (row,) = (line for line in lines if "0.75x" in line)
    assert row.split() == ["B-march-32,", "dfast", "4", "3", "0.75x", "0.75", "to", "0.75"]
    assert lines[-2:] == [
        "B-march-32, torch reference: only in the old build, 2 ms",
        "B-march-32, dfast eager: only in the new build, 1 ms",
    ]


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    times = {"old": (1.0, 2.0, 4.0, None), "new": (2.0, 2.0, 2.0, 9.0)}
    runs = [versus.Run(name, n, [_record(times[name][n])], "") for n in range(4) for name in times]
    (case,) = versus.compare(runs)
    assert (case["ratio"], case["ratios"]) == (1.0, [2.0, 1.0, 0.5])
    assert (case["old_ms"], case["new_ms"]) == (2.0, 2.0)
    assert case["old_error"] == "RuntimeError: no" and "new_error" not in case


def test_failures_of_a_build_are_named_and_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = _writes(_record(4.0)).replace("return 0", "os.kill(os.getpid(), signal.SIGSEGV)")
    old = _stub(tmp_path / "old", act=written)
    new = _stub(tmp_path / "new", act=_writes(_record(3.0), _record(None, "dfast eager"), code=1))
    result = versus.run(_builds(old, new), [], rounds=1, say=lambda line: None)
    assert result["faults"] == ["old, round 1: stopped by SIGSEGV"]
    assert versus.table(result).splitlines()[-2:] == [
        "B-march-32, dfast eager: failed in the new build: RuntimeError: no",
        "old, round 1: stopped by SIGSEGV",
    ]
    nothing = _stub(tmp_path / "nothing")
    with pytest.raises(
        ConfigError, match="old build measured nothing: ended with exit code 2; the"
    ):
        versus.run(_builds(nothing, new), [], rounds=1, say=lambda line: None)


def test_a_build_that_hangs_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = _writes(_record(4.0)).replace("return 0", "time.sleep(600)")
    monkeypatch.setattr(versus, "LIMIT_S", 2.0)
    old, new = _stub(tmp_path / "old", act=written), _stub(tmp_path / "new", act=written)
    result = versus.run(_builds(old, new), [], rounds=1, say=lambda line: None)
    assert result["faults"][1] == "new, round 1: stopped after 2 s without an answer"
    assert result["cases"][0]["ratio"] == 1.0


def test_ctrl_c_ends_the_builds(tmp_path: Path) -> None:
    old = _stub(tmp_path / "old", act="time.sleep(600)")
    running = subprocess.Popen(
        [sys.executable, "-P", "-m", "dfast", "bench", "--device", "cpu", "--against", str(old)],
        stderr=subprocess.PIPE,
        text=True,
        env=same_imports(),
    )
    try:
        assert running.stderr is not None
        assert running.stderr.readline() == "round 1 of 3, old: [1/1] a line of progress\n"
        (child,) = children(running.pid)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=20)
    finally:
        running.kill()
    assert running.returncode == 130 and err == "dfast: interrupted\n"
    assert not alive(child)


@pytest.mark.usefixtures("needs_native")
def test_a_copy_of_this_build_is_compared_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, out = tmp_path / "copy", tmp_path / "x.json"
    skipped = shutil.ignore_patterns("*.safetensors", "__pycache__")
    shutil.copytree(Path(dfast.__file__).parent, copy / "dfast", ignore=skipped)
    line = ["bench", "--device", "cpu", "--quick", "--workloads", "b", "--rounds", "1"]
    assert main([*line, "--against", str(copy), "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert result["builds"]["old"]["package"] == str(copy / "dfast")
    assert result["builds"]["new"]["package"] == str(Path(dfast.__file__).parent)
    assert {case["workload"] for case in result["cases"]} == {"B-march-32"}
    assert all(0 < case["ratio"] < 100 for case in result["cases"]) and not result["faults"]
    assert "B-march-32, dfast " in capsys.readouterr().out
