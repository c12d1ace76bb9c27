"""Random command lines end in an exit code and at most one line of error."""

from __future__ import annotations

from pathlib import Path

import pytest
from random_command_lines import RandomCommands, make_home, problem, tiny_models

pytestmark = pytest.mark.usefixtures("needs_native")

COUNT = 300
"""Command lines; `benchmarks/check_command_lines.py` runs ten thousand."""


def test_random_command_lines_have_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with tiny_models():
        make_home(tmp_path)
        commands = RandomCommands(11, tmp_path)
        problems = [found for _ in range(COUNT) if (found := problem(commands.line()))]
    assert not problems, f"{len(problems)} of {COUNT}\n" + "\n".join(problems[:5])
