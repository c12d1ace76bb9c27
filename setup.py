"""Builds dfast._C with CMake and Ninja; everything else is in pyproject.toml.

Environment:
    DFAST_CUDA=AUTO|ON|OFF   CUDA kernels: AUTO (default) builds them when nvcc works, unless the
                             environment has a torch without CUDA; or always, never.
    DFAST_CUDA_ARCHS=90      CUDA_ARCHITECTURES list; the default covers many GPUs and adds PTX.
    DFAST_CPU_ARCH=native    value of -march for the CPU kernels ("" for the compiler's default).
    MAX_JOBS=2               how many compilers run at once.
"""

import ast
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

ROOT = Path(__file__).parent.resolve()


def cpu_torch() -> str:
    """Return the version of the torch that dfast will meet if it has no CUDA, else "".

    Under build isolation pip runs this file by the Python of the environment it installs into, but
    hides that environment's packages by means of two variables; a new process without these two
    sees them. torch is found, not imported. Where no torch is found, any may come: "".
    """
    hidden = ("PYTHONPATH", "PYTHONNOUSERSITE")
    seen = {name: value for name, value in os.environ.items() if name not in hidden}
    find = "import importlib.util as u; s = u.find_spec('torch'); print(s.origin if s else '')"
    for environment in (dict(os.environ), seen):
        done = subprocess.run(
            [sys.executable, "-P", "-c", find], env=environment, capture_output=True, text=True
        )
        origin = done.stdout.strip()
        if done.returncode == 0 and origin:
            return _version_without_cuda(Path(origin).parent / "version.py")
    return ""


def _version_without_cuda(file: Path) -> str:
    """Return the version in torch's version.py if that says that it was built without CUDA."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return ""
    # Lines such as `cuda: Optional[str] = None`.
    lines = re.findall(
        r"^(__version__|cuda)\b[^=\n]*= *(None|['\"][^'\"\n]*['\"])", text, re.MULTILINE
    )
    values = {name: ast.literal_eval(value) for name, value in lines}
    return values.get("__version__") or "" if values.get("cuda", "unknown") is None else ""


class CMakeBuild(build_ext):
    """Runs CMake on the repository and leaves the module where setuptools wants it."""

    def build_extension(self, ext: Extension) -> None:
        import pybind11

        target = Path(self.get_ext_fullpath(ext.name)).resolve().parent
        work = Path(self.build_temp).resolve() / "cmake"
        work.mkdir(parents=True, exist_ok=True)
        settings = {
            "CMAKE_BUILD_TYPE": "Debug" if self.debug else "Release",
            "CMAKE_LIBRARY_OUTPUT_DIRECTORY": str(target),
            "Python_EXECUTABLE": sys.executable,
            "pybind11_DIR": pybind11.get_cmake_dir(),
            "DFAST_VERSION": self.distribution.get_version(),
        }
        for name in ("DFAST_CUDA", "DFAST_CUDA_ARCHS", "DFAST_CPU_ARCH"):
            if name in os.environ:
                settings[name] = os.environ[name]
        if settings.get("DFAST_CUDA", "AUTO").upper() == "AUTO":
            settings["DFAST_CPU_TORCH"] = cpu_torch()
        jobs = os.environ.get("MAX_JOBS", str(os.cpu_count() or 1))
        options = [f"-D{name}={value}" for name, value in settings.items()]
        # Tools installed beside this Python are found even if its environment is not activated.
        path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
        environment = {**os.environ, "PATH": path}
        # --fresh: a cache from another isolated build names tools that no longer exist.
        configure = ["cmake", "--fresh", "-G", "Ninja", "-S", str(ROOT), "-B", str(work)]
        build = ["cmake", "--build", str(work), "--parallel", jobs]
        for command in ([*configure, *options], build):
            if subprocess.run(command, env=environment).returncode:
                raise CompileError("dfast's kernels could not be built: see CMake's error above")


if __name__ == "__main__":
    setup(ext_modules=[Extension("dfast._C", sources=[])], cmdclass={"build_ext": CMakeBuild})
