#!/usr/bin/env bash
# SGD with fused=True does not move bfloat16 and float16 parameters on a CPU, but for the last few entries of each.
#
# Expected (written down before the run): fused=True changes a step by rounding at most, from the first step on.
# Seen with torch 2.13.0 on a CPU (AVX512, AVX2 and without either), 2026-11-29: in bfloat16 and float16, entries in
# whole vectors (blocks of 16 or 32) stay at exactly what they were, step after step, and only the rest of the
# division moves: of 1001 parameters the last 9, of 1024 none. float32 is right, fused Adam, AdamW and Adagrad are
# right, and a test with a parameter of three entries sees nothing. The kernel's vector loop for the short types ends
# before it applies the learning rate and stores (reported as PyTorch's issue 191763, closed since).
# So a network that is trained so on a CPU has a loss that stays and gradients that are right.
#
# Usage: findings/torch_fused_sgd_half_stands_still.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 numpy
cat > "$folder/see.py" <<'PYTHON'
import torch


def moved(name, dtype, count, fused):
    """Return how many of `count` parameters a step with gradient 1 and learning rate 0.5 changes."""
    parameter = torch.nn.Parameter(torch.zeros(count, dtype=dtype))
    optimizer = getattr(torch.optim, name)([parameter], lr=0.5, fused=fused)
    for _ in range(2):
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    return int((parameter != 0).sum())


print("torch", torch.__version__, torch.backends.cpu.get_cpu_capability())
changed = "the behaviour changed: expected fused SGD to move none of 1024, 9 of 1001 and 3 of 3"
for dtype in (torch.bfloat16, torch.float16, torch.float32):
    counts = {n: [moved(o, dtype, n, fused) for o, fused in (("SGD", False), ("SGD", True), ("Adam", True))]
              for n in (1024, 1001, 3)}
    print(dtype, {n: f"SGD {c[0]}, fused SGD {c[1]}, fused Adam {c[2]}" for n, c in counts.items()})
    stuck = {1024: 0, 1001: 9, 3: 3} if dtype != torch.float32 else {n: n for n in counts}
    assert all(c == [n, stuck[n], n] for n, c in counts.items()), changed
PYTHON
"$folder/venv/bin/python" "$folder/see.py"
