"""Run the scripts of python_tests/js, with which tests see files as JavaScript programs see them.

They need node, and the packages of `PACKAGES` in the folder that DFAST_TEST_NODE names:

    npm install --prefix FOLDER gltf-validator @gltf-transform/core three mikktspace
    DFAST_TEST_NODE=FOLDER pytest python_tests/mesh
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PACKAGES = ("gltf-validator", "@gltf-transform/core", "three", "mikktspace")
SCRIPTS = Path(__file__).with_name("js")


def run_js(script: str, *arguments: str | Path) -> Any:
    """Return what a script prints, as JSON; skip the test where node or a package is missing.

    Args:
        script: name of a file in python_tests/js, without its ending.
        *arguments: of the script.
    """
    folder = os.environ.get("DFAST_TEST_NODE")
    if folder is None or shutil.which("node") is None:
        pytest.skip("needs node, and the packages that python_tests/node.py names")
    missing = [name for name in PACKAGES if not (Path(folder) / "node_modules" / name).is_dir()]
    assert not missing, f"DFAST_TEST_NODE: expected {missing} in {folder}/node_modules"
    line = ["node", str(SCRIPTS / f"{script}.mjs"), *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)
