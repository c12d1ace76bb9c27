"""What the build decides: CUDA kernels or none and why, flags for old compilers.

Compilers are stood in for by scripts, so that no CUDA is needed; CMake configures, nothing is
compiled.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PATH = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
CXX = shutil.which("g++", path=PATH)

needs_cmake = pytest.mark.skipif(
    not (ROOT / "CMakeLists.txt").is_file()
    or CXX is None
    or not all(shutil.which(tool, path=PATH) for tool in ("cmake", "ninja"))
    or importlib.util.find_spec("pybind11") is None,
    reason="needs dfast's sources, g++, cmake, ninja and pybind11",
)
on_x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="flags of x86")

HOST_COMPILER = "#error -- unsupported GNU version! gcc versions later than 11 are not supported!"
BROKEN_NVCC = f'echo "host_config.h(143): error: {HOST_COMPILER}" >&2\nexit 1'
OLD_CXX = f"""
case " $* " in *" -march=x86-64-v3 "*)
  echo "cc1plus: error: bad value (x86-64-v3) for -march= switch" >&2; exit 1;;
esac
exec {CXX} "$@"
"""


def script(file: Path, body: str) -> Path:
    """Write a program."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return file


def configure(
    work: Path, *options: str, tools: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Configure in `work / "build"`, finding programs of the folder `tools` first."""
    import pybind11

    unset = ("CXX", "CUDACXX", "CUDAHOSTCXX", "CXXFLAGS", "CUDA_PATH")
    clean = {name: value for name, value in os.environ.items() if name not in unset}
    path = PATH if tools is None else f"{tools}{os.pathsep}{PATH}"
    return subprocess.run(
        [
            *("cmake", "-G", "Ninja", "-S", str(ROOT), "-B", str(work / "build")),
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            f"-DPython_EXECUTABLE={sys.executable}",
            *options,
        ],
        env=clean | {"PATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def cpu_command(work: Path) -> str:
    """Return the command that compiles one of the CPU kernels."""
    commands = json.loads((work / "build" / "compile_commands.json").read_text())
    return next(c["command"] for c in commands if c["file"].endswith("csrc/cpu/rays.cpp"))


def flattened(text: str) -> str:
    """Return text without the line breaks that CMake puts in."""
    return " ".join(text.split())


@needs_cmake
@pytest.mark.parametrize("cuda", ["AUTO", "ON"])
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (BROKEN_NVCC, HOST_COMPILER),
        ("exec /no/such/cuda/bin/nvcc", "/no/such/cuda/bin/nvcc"),
    ],
    ids=["host compiler", "missing toolkit"],
)
def test_a_failing_nvcc_is_quoted(tmp_path: Path, cuda: str, body: str, reason: str) -> None:
    script(tmp_path / "tools" / "nvcc", body)
    done = configure(tmp_path, f"-DDFAST_CUDA={cuda}", tools=tmp_path / "tools")
    assert reason in flattened(done.stderr)
    assert ("CMake Error" if cuda == "ON" else "CMake Warning") in done.stderr
    assert (done.returncode == 0) == (cuda == "AUTO")
    if cuda == "AUTO":  # the extension keeps the reason, since pip hides what CMake prints
        assert "nvcc failed: " in cpu_command(tmp_path)


@needs_cmake
def test_no_nvcc_is_told_from_a_failing_one(tmp_path: Path) -> None:
    done = configure(tmp_path, "-DDFAST_CUDA=ON", CUDACXX="/no/such/nvcc")
    assert done.returncode != 0 and "CUDACXX=/no/such/nvcc is not there" in flattened(done.stderr)


@needs_cmake
def test_a_torch_without_cuda_gets_no_cuda_kernels(tmp_path: Path) -> None:
    script(tmp_path / "tools" / "nvcc", BROKEN_NVCC)  # would be a warning
    done = configure(tmp_path, "-DDFAST_CPU_TORCH=2.13.0+cpu", tools=tmp_path / "tools")
    assert done.returncode == 0 and "CMake Warning" not in done.stderr
    said = "CUDA kernels OFF (DFAST_CUDA=AUTO found torch 2.13.0+cpu, which has no CUDA"
    assert said in done.stdout and "DFAST_CUDA=ON builds them" in cpu_command(tmp_path)


@needs_cmake
@on_x86
def test_an_old_compiler_gets_the_instructions_one_by_one(tmp_path: Path) -> None:
    old = script(tmp_path / "tools" / "g++", OLD_CXX)
    done = configure(tmp_path, "-DDFAST_CUDA=OFF", CXX=str(old))
    assert done.returncode == 0, done.stderr
    flags = cpu_command(tmp_path).split()
    assert {"-mavx2", "-mfma", "-mbmi2", "-mf16c"} <= {*flags}
    assert "-march=x86-64-v3" not in flags


@needs_cmake
@on_x86
def test_an_unknown_processor_is_refused_before_compiling(tmp_path: Path) -> None:
    done = configure(tmp_path, "-DDFAST_CUDA=OFF", "-DDFAST_CPU_ARCH=x86-64-v9")
    assert done.returncode != 0
    assert "DFAST_CPU_ARCH=x86-64-v9: " in flattened(done.stderr)
    assert "does not know it" in flattened(done.stderr)


def setup_file() -> ModuleType:
    """Return setup.py as a module, without running it."""
    if not (ROOT / "setup.py").is_file():
        pytest.skip("needs dfast's sources")
    pytest.importorskip("setuptools")
    spec = importlib.util.spec_from_file_location("dfast_setup", ROOT / "setup.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("cuda: Optional[str] = None\nhip: Optional[str] = None", "2.13.0+x"),
        ("cuda = None", "2.13.0+x"),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '7.1'", "2.13.0+x"),  # no CUDA either
        ("cuda: Optional[str] = '13.0'\nhip: Optional[str] = None", ""),
        ('cuda = "12.1"', ""),
        ("", ""),
    ],
)
@pytest.mark.parametrize("isolated", [False, True])
def test_the_torch_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, expected: str, isolated: bool
) -> None:
    torch = tmp_path / "site" / "torch"
    torch.mkdir(parents=True)
    (torch / "__init__.py").write_text("raise ImportError('must not be imported')")
    (torch / "version.py").write_text(f"__version__ = '2.13.0+x'\n{lines}\n")
    monkeypatch.setenv("PYTHONPATH", str(torch.parent))
    setup = setup_file()
    if isolated:  # like pip: PYTHONPATH hides the environment, and is all that does
        python = "import os, sys\nif 'PYTHONPATH' not in os.environ:\n"
        python += f"    sys.path.insert(0, {str(torch.parent)!r})\n"
        python += "else:\n    sys.path[:] = [p for p in sys.path if 'site-packages' not in p]\n"
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "overlay"))
        wrapped = tmp_path / "python"
        body = f'exec {sys.executable} "$1" -c "exec(open(\'{tmp_path}/start.py\').read())\n$3"'
        (tmp_path / "start.py").write_text(python)
        monkeypatch.setattr(setup.sys, "executable", str(script(wrapped, body)))
    assert setup.cpu_torch() == expected


@pytest.mark.skipif(not (ROOT / "CMakeLists.txt").is_file(), reason="needs dfast's sources")
def test_the_sanitizers_build_defines_what_cmake_does() -> None:
    cmake = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    script = (ROOT / "benchmarks" / "check_cpu.sh").read_text(encoding="utf-8")
    names = re.findall(
        r"DFAST_\w+(?==)", cmake.partition("target_compile_definitions(_C PRIVATE")[2]
    )
    assert "DFAST_NO_CUDA" in names[:3]
    assert [name for name in names[:3] if f"-D{name}=" not in script] == []
