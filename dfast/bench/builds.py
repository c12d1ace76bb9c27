"""Another build of dfast to compare with, and the command that runs a build's own `dfast bench`.

The command and its options `--device`, `--workloads`, `--quick` and `--out` are as old as the
benchmarks, so any version that has them can be driven.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dfast._files import user_path
from dfast._numbers import shown
from dfast._version import __version__
from dfast.bench.process import same_imports
from dfast.errors import ConfigError

COMMAND = "import sys; from dfast.cli import main; sys.exit(main())"
"""Runs the command line of every version: older ones have no `python -m dfast`."""
NEEDED = ("--device", "--workloads", "--quick", "--out")
"""Options that a build's `dfast bench` must have."""
LOOK = """
import json, sys
from importlib.util import find_spec
package = find_spec("dfast")
found = package is not None and package.origin is not None
native = find_spec("dfast._C") if found else None
print(json.dumps({
    "python": ".".join(map(str, sys.version_info[:2])),
    "package": package.submodule_search_locations[0] if found else None,
    "native": native is not None,
    "version": getattr(sys.modules["dfast"], "__version__", "unknown") if found else None,
}))
"""
"""Says which dfast a Python imports, without loading its extension or torch."""
LOOK_S = 120
"""Seconds in which a build has to say what it is."""


@dataclass(frozen=True)
class Build:
    """A build of dfast that can run its own benchmarks."""

    name: str
    """The word "old" for the one that is compared with, "new" for this one."""
    package: str
    """Its folder `dfast`."""
    version: str
    """As it says itself."""
    python: str
    """The interpreter that runs it."""
    environment: Mapping[str, str] = field(repr=False)
    """In which that interpreter imports it."""

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return the command that runs its command line with some arguments."""
        return _command(self.python, arguments)


def this_build() -> Build:
    """Return the dfast of this process."""
    package = Path(__file__).resolve().parents[1]
    return Build("new", str(package), __version__, sys.executable, same_imports())


def other_build(path: str) -> Build:
    """Return the build in a folder.

    Args:
        path: a virtual environment in which dfast is installed, or a folder with `dfast/` and its
            compiled extension, which this interpreter imports.

    Raises:
        ConfigError: there is no build of dfast that can be compared with.
    """
    folder = Path(os.path.abspath(user_path(path)))
    if not path or not folder.is_dir():
        raise _refused(path, "a file" if folder.is_file() else "no such folder")
    python, environment = _interpreter(path, folder)
    said = _output(path, [python, "-P", "-c", LOOK], environment)
    about = json.loads(said.splitlines()[-1])
    if about["package"] is None:
        raise _refused(path, "there is no dfast in it")
    if not about["native"]:
        raise _refused(
            path, f"its compiled extension dfast/_C for Python {about['python']} is missing"
        )
    options = _output(path, _command(python, ["bench", "--help"]), environment)
    if missing := [option for option in NEEDED if option not in options]:
        raise _refused(path, f"its `dfast bench` is too old, it has no {missing[0]}")
    return Build("old", about["package"], about["version"], python, environment)


def _command(python: str, arguments: Sequence[str]) -> list[str]:
    """Return the command that runs the command line of the dfast that `python` imports."""
    return [python, "-P", "-c", COMMAND, *arguments]


def _interpreter(path: str, folder: Path) -> tuple[str, dict[str, str]]:
    """Return the Python of a build and its environment.

    DFAST_COMMIT names the commit of this dfast, not of the other.
    """
    is_source = (folder / "dfast" / "__init__.py").is_file()
    python = sys.executable if is_source else str(folder / "bin" / "python")
    if not Path(python).exists():
        raise _refused(path, "there is neither dfast/__init__.py nor bin/python in it")
    environment = same_imports()
    environment.pop("DFAST_COMMIT", None)
    if is_source:
        environment["PYTHONPATH"] = f"{folder}{os.pathsep}{environment['PYTHONPATH']}"
    else:
        del environment["PYTHONPATH"]
    return python, environment


def _output(path: str, command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return what a command of the other build prints, or raise ConfigError with its last line."""
    try:
        done = subprocess.run(
            command, env=dict(environment), capture_output=True, text=True, timeout=LOOK_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _refused(path, str(error)) from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise _refused(path, f"it fails: {last}"[:300])
    return done.stdout


def _refused(path: str, reason: str) -> ConfigError:
    """Return the error for a build that cannot be compared with."""
    return ConfigError(
        "--against: expected a virtual environment with dfast or a folder with a built dfast/, "
        f"got {shown(path)}: {reason}"
    )
