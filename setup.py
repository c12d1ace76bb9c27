"""Builds dfast._C with CMake and Ninja; everything else is in pyproject.toml.

Environment:
    DFAST_CUDA=AUTO|ON|OFF   CUDA kernels: when nvcc is found (default), always, never.
    DFAST_CUDA_ARCHS=90      CUDA_ARCHITECTURES list; the default covers many GPUs and adds PTX.
    DFAST_CPU_ARCH=native    value of -march for the CPU kernels ("" for the compiler's default).
    MAX_JOBS=2               how many compilers run at once.
"""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()


class CMakeBuild(build_ext):
    """Runs CMake on the repository and leaves the module where setuptools wants it."""

    def build_extension(self, ext: Extension) -> None:
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
        jobs = os.environ.get("MAX_JOBS", str(os.cpu_count() or 1))
        options = [f"-D{name}={value}" for name, value in settings.items()]
        # Tools installed beside this Python are found even if its environment is not activated.
        path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
        environment = {**os.environ, "PATH": path}
        # --fresh: a cache from another isolated build names tools that no longer exist.
        configure = ["cmake", "--fresh", "-G", "Ninja", "-S", str(ROOT), "-B", str(work)]
        subprocess.run([*configure, *options], check=True, env=environment)
        build = ["cmake", "--build", str(work), "--parallel", jobs]
        subprocess.run(build, check=True, env=environment)


setup(ext_modules=[Extension("dfast._C", sources=[])], cmdclass={"build_ext": CMakeBuild})
