#!/usr/bin/env bash
# scatter_reduce with include_self=False gives a share of the gradient to the tensor that it leaves out.
#
# Expected (written down before the run): the gradient of a maximum goes to the entries that hold it, in equal shares
# that add up to one; the tensor of starting values has none, since include_self=False leaves it out of the reduction.
# Seen with torch 2.13.0 on a CPU, 2026-11-29, for "amax" and "amin" of scatter_reduce and of index_reduce: where the
# maximum happens to equal the starting value, that one is counted among the winners and its share is dropped. Two
# entries that tie get 1/3 each, and a single maximum gets 1/2. With other starting values the gradient is right,
# though the result is the same. The backward pass divides by the count of winners before it sets the left-out
# gradient to zero.
# So parameters that start at zero, such as offsets or residuals, and are pooled into torch.zeros(...) get half of
# their gradient or less at first. Start the pool with a value that no entry takes.
#
# Usage: findings/torch_scatter_reduce_left_out_self.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 numpy
cat > "$folder/see.py" <<'PYTHON'
import torch

print("torch", torch.__version__)
changed = "the behaviour changed: expected the starting value 0 to halve the gradient"
for operator in ("scatter_reduce", "index_reduce"):
    for reduction, sign in (("amax", -1.0), ("amin", 1.0)):
        for values, shares, lost in (([0.0], [1.0], [1 / 2]), ([0.0, 0.0], [1 / 2, 1 / 2], [1 / 3, 1 / 3])):
            source = torch.tensor([*values, sign], dtype=torch.float64, requires_grad=True)
            index = torch.zeros(len(source), dtype=torch.int64)
            seen = {}
            for start in (0.0, -5.0, 5.0):
                base = torch.full((1,), start, dtype=torch.float64)
                result = getattr(base, operator)(0, index, source, reduction, include_self=False)
                assert result.item() == 0.0
                seen[start] = torch.autograd.grad(result.sum(), source)[0]
            print(operator, reduction, source.tolist(), {start: gradient.tolist() for start, gradient in seen.items()})
            assert all(torch.allclose(seen[s], torch.tensor([*shares, 0.0]).double()) for s in (-5.0, 5.0)), changed
            assert torch.allclose(seen[0.0], torch.tensor([*lost, 0.0]).double()), changed
PYTHON
"$folder/venv/bin/python" "$folder/see.py"
