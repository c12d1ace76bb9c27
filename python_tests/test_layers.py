"""The laws of layering: imports between the packages of dfast point one way.

`LAYERS` is the whole law, lowest layer first. A module may import from layers below its own and
from its own layer, wherever in the file the import stands. docs/architecture.md says what each
layer is for.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import dfast

LAYERS = (
    ("errors", "_version", "_numbers", "_files", "host"),
    ("config", "io", "_native"),
    ("_device", "ops"),
    ("reference", "nn"),
    ("scene",),
    ("render", "mesh", "world"),
    ("priors", "pages"),
    ("clip",),
    ("guidance", "testing", "evaluation"),
    ("training",),
    ("runs",),
    ("viewer", "callbacks", "batches"),
    ("reproduction",),
    ("bench", "__init__"),
    ("cli",),
    ("__main__",),
)
"""Packages and root modules of dfast, lowest first. Those on one line do not import each other.

`__init__` is the public face, `dfast` itself: only the command line imports it.
"""

STRANGERS = (
    ("scene", ("training", "runs", "config.training")),
    ("render", ("training", "priors", "guidance")),
    ("priors", ("guidance", "training")),
    ("world", ("priors", "guidance", "nn", "render")),
    ("ops", ("scene", "nn", "config")),
    ("config", ("torch", "numpy")),
    ("training", ("runs", "io")),
    ("guidance", ("training",)),
)
"""Laws that the layers imply or that are stricter: the first never imports the others."""

HOME = Path(dfast.__file__).parent


def modules(home: Path) -> dict[str, Path]:
    """Return every module below `home` by its name without "dfast."; packages by their own name."""
    found = {}
    for path in sorted(home.rglob("*.py")):
        parts = list(path.relative_to(home).with_suffix("").parts)
        if parts[-1] == "__init__" and len(parts) > 1:
            parts.pop()
        found[".".join(parts)] = path
    return found


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Yield what a file imports: modules of dfast without "dfast.", others by their full name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports within dfast are absolute"
            base = node.module or ""
            inner = [f"{base}.{alias.name}" for alias in node.names]
            names = [i if i.removeprefix("dfast.") in known else base for i in inner]
        else:
            continue
        for name in names:
            if name == "dfast":
                yield "__init__"
            elif name.startswith("dfast.") or name not in known:  # `import io` is not dfast.io
                yield name.removeprefix("dfast.")


def layer(module: str) -> int | None:
    """Return the number of a module's layer, None for what is not dfast's."""
    top = module.split(".")[0]
    return next((number for number, row in enumerate(LAYERS) if top in row), None)


def violations(home: Path) -> list[str]:
    """Return one line for every import that breaks a law, and for every circle of modules."""
    known = modules(home)
    graph = {name: set(imported(path, known)) for name, path in known.items()}
    broken = []
    for name, targets in graph.items():
        mine = layer(name)
        if mine is None:
            broken.append(f"{name} belongs to no layer")
            continue
        for target in sorted(targets):
            other, same = layer(target), target.split(".")[0] == name.split(".")[0]
            if other is not None and (other > mine or (other == mine and not same)):
                broken.append(f"{name} imports {target}, which is not below it")
            for low, high in STRANGERS:
                if _within(name, (low,)) and _within(target, high):
                    broken.append(f"{name} imports {target}: {low} knows no {target.split('.')[0]}")
    return broken + circles(graph)


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Return one line for every circle of imports, wherever in the files they stand.

    A package's `__init__` only gathers names of its own modules, which do not import it back.
    """
    done: set[str] = set()
    found: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            found.append(" -> ".join([*path[path.index(name) :], name]))
        elif name not in done:
            for target in sorted(graph.get(name, ())):
                if target in graph:
                    visit(target, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())
    return found


def _within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def test_imports_point_one_way() -> None:
    assert violations(HOME) == []


def test_few_modules_lie_at_the_root() -> None:
    assert len(list(HOME.glob("*.py"))) <= 8


def test_every_package_says_what_lives_there() -> None:
    for path in HOME.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("scene/bad.py", "from dfast.training.trainer import Trainer", "scene knows no training"),
        ("ops/bad.py", "def f():\n    from dfast.nn import field", "which is not below it"),
        ("config/bad.py", "import torch", "config knows no torch"),
        ("priors/bad.py", "import dfast.guidance.sds", "priors knows no guidance"),
        ("runs/bad.py", "import dfast", "imports __init__, which is not below it"),
        ("lost.py", "", "lost belongs to no layer"),
        ("io/bad.py", "from dfast.io.other import x", "io.bad -> io.other -> io.bad"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, name: str, text: str, message: str) -> None:
    files = {
        "__init__.py": "",
        "training/trainer.py": "",
        "nn/field.py": "",
        "guidance/sds.py": "",
        "io/other.py": "from dfast.io import bad",
        name: text,
    }
    if name != "io/bad.py":
        files.pop("io/other.py")
    for file, content in files.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(content)
    assert any(message in line for line in violations(tmp_path))
