#!/usr/bin/env bash
# torch.rand in bfloat16 is exactly 0 once in 512 draws, and uniform_(200, 201) is always 200.
#
# Expected (written down before the run): the mean is 0.5 within a thousandth, the value 1 does not occur, and 0
# occurs no more often than once in 65536, bfloat16 having as many small numbers as float32.
# Seen with torch 2.13.0 on a CPU, 2026-11-29: each draw is that of float32 with the same seed, rounded, but what
# would be rounded to the upper bound is given as the lower one. In bfloat16 that is one draw in 512 (float16: 4096),
# so that the mean of rand is 0.498, and of uniform_(-1, 1) one in 512 is -1 and none is 1. Where the range is a step
# of the type wide, as from 200 to 201, every draw is the lower bound and the mean is half a step low. float32 has
# none of it.
# So jitter, noise levels or camera angles drawn in the network's type are pushed to one end, and -log(rand) is
# infinite once in 512 times. Draw in float32 and round.
#
# Usage: findings/torch_rand_short_floats_zero.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 numpy
cat > "$folder/see.py" <<'PYTHON'
import torch

COUNT = 1 << 20


def draws(dtype, low, high):
    torch.manual_seed(0)
    return torch.empty(COUNT, dtype=dtype).uniform_(low, high)


changed = "the behaviour changed: expected draws that round to the upper bound to be the lower bound"
for dtype, rate in ((torch.bfloat16, 512), (torch.float16, 4096)):
    for low, high in ((0, 1), (-1, 1), (200, 201)):
        seen, rounded = draws(dtype, low, high), draws(torch.float32, low, high).to(dtype)
        moved = rounded == high
        at, own = int((seen == low).sum()), int((rounded == low).sum())
        print(f"torch {torch.__version__}, {dtype}, {low} to {high}: mean {seen.float().mean():.4f}, {at} at {low}, of which "
              f"{own} round to it and {int(moved.sum())} to {high}")
        assert torch.equal(seen, torch.where(moved, low, rounded)) and not (seen == high).any(), changed
    torch.manual_seed(0)
    zeros = int((torch.rand(COUNT, dtype=dtype) == 0).sum())
    assert 0.8 < zeros * rate / COUNT < 1.2, changed
assert (draws(torch.bfloat16, 200, 201) == 200).all() and not (draws(torch.float32, 0, 1) == 0).any(), changed
PYTHON
"$folder/venv/bin/python" "$folder/see.py"
