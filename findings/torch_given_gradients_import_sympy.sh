#!/usr/bin/env bash
# The first backward pass of torch that is given a gradient imports sympy, and a scalar's does not.
#
# Expected (written down before the run): torch.autograd.grad(y, x, gradient) differentiates with what torch has loaded,
# as torch.autograd.grad(y.sum(), x) does, and costs as much in a new process.
# Seen with torch 2.13.0 on CPUs, 2026-11-30: to compare the shapes of y and of the gradient, both of which are plain
# numbers, it imports torch.fx.experimental.symbolic_shapes and with it sympy and mpmath: 487 modules, 0.25 s on an
# Intel Xeon. The scalar imports none of them. A program that saves a reduction in this way starts later than before.
#
# Usage: findings/torch_given_gradients_import_sympy.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 numpy==2.4.6
cat > "$folder/see.py" <<'PYTHON'
import sys
import time

import torch

x = torch.ones(3, requires_grad=True)
y = 2 * x
began, before = time.perf_counter(), len(sys.modules)
if sys.argv[1] == "given":
    (gradient,) = torch.autograd.grad(y, x, torch.ones(3))
else:
    (gradient,) = torch.autograd.grad(y.sum(), x)
seconds, more = time.perf_counter() - began, len(sys.modules) - before
assert gradient.tolist() == [2.0, 2.0, 2.0]
print(f"{sys.argv[1]}: {more} modules more, {seconds:.2f} s", file=sys.stderr)
print("sympy" in sys.modules, more > 100)
PYTHON
[ "$("$folder/venv/bin/python" "$folder/see.py" scalar)" = "False False" ]
[ "$("$folder/venv/bin/python" "$folder/see.py" given)" = "True True" ]
