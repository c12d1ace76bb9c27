"""The names of `import dfast`, and the ways to start the command line."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest

import dfast

MODULES = (
    "callbacks",
    "config",
    "errors",
    "evaluation",
    "guidance",
    "io",
    "mesh",
    "nn",
    "ops",
    "priors",
    "reference",
    "render",
    "runs",
    "scene",
    "training",
    "viewer",
    "world",
)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a new process."""
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("name", dfast.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(dfast, name) is getattr(dfast, name)
    assert isinstance(getattr(dfast, name), types.ModuleType) == (name in MODULES)


def test_dir_shows_functions_and_modules() -> None:
    assert dir(dfast) == sorted(dfast.__all__) and {*MODULES, "train", "load"} <= {*dir(dfast)}
    assert {*dfast._LAZY} <= {*dfast.__all__}


def test_lazy_names_come_from_their_modules() -> None:
    for name, module in dfast._LAZY.items():
        found = getattr(dfast, name)
        assert found is sys.modules[module] or found.__module__ == module


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'dfast' has no attribute 'trian'"):
        dfast.trian  # noqa: B018


def test_torch_comes_with_the_first_use() -> None:
    code = (
        "import sys, dfast\n"
        "dfast.Config.default(), dfast.config.FieldConfig(), dir(dfast), dfast.errors\n"
        "assert 'torch' not in sys.modules\n"
        "assert callable(dfast.train) and 'torch' in sys.modules\n"
        "from dfast import Event, Result, estimate, nn, ops, priors, reference\n"
        "assert dfast.nn is nn and dfast.Event is Event"
    )
    done = run("-c", code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["dfast", "dfast.cli"])
def test_modules_run_like_the_command(module: str, tmp_path: Path) -> None:
    version = run("-m", module, "--version")
    assert (version.returncode, version.stdout) == (0, f"dfast {dfast.__version__}\n")
    bad = run("-m", module, "render", str(tmp_path / "none"), "--out", "a.png", "--device", "cpu")
    assert bad.returncode == 2 and bad.stderr.startswith("dfast: error: ")
    preset = ("--preset", "dreamfusion", "--prior", "sd15")
    settings = run("-m", module, "config", *preset, "--device", "cpu")
    lines = [line for line in settings.stdout.splitlines() if not line.startswith("#")]
    assert [line for line in lines if line] == [
        line for line in dfast.Config.dreamfusion().dumps().splitlines() if line
    ]
    assert settings.returncode == 0


CONSTANTS = """
import importlib, pkgutil, sys, torch
torch.set_default_dtype(torch.bfloat16)
torch.set_default_device("meta")
import dfast
for module in pkgutil.walk_packages(dfast.__path__, "dfast."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
found = {
    f"{module}.{name}": (value.device.type, value.dtype)
    for module, loaded in list(sys.modules.items()) if module.startswith("dfast")
    for name, value in vars(loaded).items() if isinstance(value, torch.Tensor)
}
wrong = {k: v for k, v in found.items() if v[0] != "cpu" or v[1] == torch.bfloat16}
print(len(found), wrong)
"""


def test_constants_do_not_depend_on_what_the_host_has_set() -> None:
    said = run("-c", CONSTANTS)
    assert said.returncode == 0, said.stderr
    count, wrong = said.stdout.split(maxsplit=1)
    assert int(count) > 0 and wrong.strip() == "{}"
