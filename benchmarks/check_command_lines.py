"""Run many random command lines, settings files and prompts: no traceback, no other exit code.

    python benchmarks/check_command_lines.py --count 10000

They are those of `python_tests/random_command_lines.py`, on tiny models, in this process.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "python_tests"))

from random_command_lines import RandomCommands, make_home, problem, tiny_models


def main() -> int:
    """Print how many command lines ended wrongly, and the first of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began, commands, problems = time.perf_counter(), Counter[str](), []
    with tempfile.TemporaryDirectory() as place, tiny_models():
        os.chdir(place)
        os.environ["HOME"] = place
        make_home(Path(place))
        random = RandomCommands(options.seed, Path(place))
        for number in range(options.count):
            line = random.line()
            commands[line[0] if line[0].isalpha() else "other"] += 1
            if found := problem(line):
                problems.append(found)
                print(f"{number}: {found}", flush=True)
        os.chdir("/")
    spent = time.perf_counter() - began
    shown = ", ".join(f"{count} {name}" for name, count in commands.most_common(8))
    print(f"{options.count} command lines ({shown}), seed {options.seed}, {spent:.0f} s")
    print(f"{len(problems)} ended wrongly")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
