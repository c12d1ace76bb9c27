#!/usr/bin/env bash
# The first call of a custom operator imports the whole compiler, though nothing is compiled.
#
# Expected (written down before the run): the first call costs what the second does, well below a millisecond, and no
# module of torch._dynamo is loaded, since the program never mentions torch.compile.
# Seen with torch 2.13.0 on a CPU, 2026-11-28: the first call of an operator by torch.library.custom_op takes 1.0 to 2.3
# seconds and loads 823 modules, torch._dynamo among them; the second takes under a millisecond. The same function by
# torch.library.define and torch.library.impl loads none.
# So a short process, such as an export or a picture, spends most of its start in the first operator of a library.
#
# Usage: findings/torch_custom_op_first_call.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 numpy
cat > "$folder/see.py" <<'PYTHON'
import sys
import time

import torch

way = sys.argv[1]
if way == "custom_op":

    @torch.library.custom_op("demo::twice", mutates_args=())
    def twice(x: torch.Tensor) -> torch.Tensor:
        return x + x
else:
    torch.library.define("demo::twice", "(Tensor x) -> Tensor")

    @torch.library.impl("demo::twice", "CPU")
    def _(x):
        return x + x

    twice = torch.ops.demo.twice

x = torch.ones(3)
before = len(sys.modules)
times = []
for _ in range(2):
    start = time.perf_counter()
    twice(x)
    times.append(time.perf_counter() - start)
loaded = len(sys.modules) - before
print(f"torch {torch.__version__} {way}: {times[0]:.3f} s, then {times[1]:.6f} s; {loaded} modules loaded")
if way == "custom_op":
    assert "torch._dynamo" in sys.modules and loaded > 100, "the behaviour changed: nothing is imported any more"
    assert times[0] > 20 * times[1], "the behaviour changed: the first call is no slower"
else:
    assert "torch._dynamo" not in sys.modules and loaded < 20, "the behaviour changed: impl imports the compiler too"
PYTHON
"$folder/venv/bin/python" "$folder/see.py" custom_op
"$folder/venv/bin/python" "$folder/see.py" impl
