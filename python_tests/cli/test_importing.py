"""How commands import torch: without a search for garbage."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc, sys
full = []
gc.callbacks.append(lambda phase, info: full.append(info["generation"]))
from dfast.cli.importing import import_runs
if "off" in sys.argv:
    gc.disable()
full.clear()
import_runs()
assert "dfast.runs.train" in sys.modules
print(gc.isenabled(), gc.get_freeze_count() > 100_000, full)
"""


def test_nothing_is_collected_meanwhile_and_everything_counts_as_permanent() -> None:
    for arguments, enabled in ((), True), (("off",), False):
        command = [sys.executable, "-c", PROGRAM, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.split("\n")[0] == f"{enabled} True []"
