#!/usr/bin/env bash
# torch.func.jvp and jacfwd of a custom operator with a registered backward formula return zeros, without a word.
#
# Expected (written down before the run): NotImplementedError, as torch raises for an autograd.Function without a jvp
# ("Trying to use forward AD with ... that does not support it").
# Seen with torch 2.13.0 on a CPU, 2026-11-28: for y = x * x at x = 3 with tangent 1, where the derivative is 6,
#   torch.func.jvp                  0   (wrong, silent)
#   torch.func.jacfwd               0   (wrong, silent)
#   torch.autograd.forward_ad       tangent None (no derivative, silent)
#   torch.autograd.functional.jvp   6   (right: it differentiates the backward pass)
#   torch.func.grad                 RuntimeError about setup_context
# So a library whose operators are torch.library.custom_op must refuse forward mode itself, or give its own jvp.
#
# Usage: findings/torch_custom_op_forward_mode.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0
cat > "$folder/see.py" <<'PYTHON'
import torch
from torch.autograd import forward_ad


@torch.library.custom_op("demo::square", mutates_args=())
def square(x: torch.Tensor) -> torch.Tensor:
    return x * x


square.register_autograd(
    lambda ctx, grad: 2 * ctx.saved_tensors[0] * grad,
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0]),
)

x, tangent = torch.tensor([3.0]), torch.tensor([1.0])
print("torch", torch.__version__)
seen = {
    "func.jvp": torch.func.jvp(square, (x,), (tangent,))[1].item(),
    "func.jacfwd": torch.func.jacfwd(square)(x).item(),
    "functional.jvp": torch.autograd.functional.jvp(square, x, tangent)[1].item(),
}
with forward_ad.dual_level():
    seen["forward_ad"] = forward_ad.unpack_dual(square(forward_ad.make_dual(x, tangent))).tangent
try:
    seen["func.grad"] = torch.func.grad(lambda v: square(v).sum())(x).item()
except RuntimeError as error:
    seen["func.grad"] = "setup_context" if "setup_context" in str(error) else str(error)
print(seen)
wanted = {"func.jvp": 0.0, "func.jacfwd": 0.0, "functional.jvp": 6.0, "forward_ad": None, "func.grad": "setup_context"}
assert seen == wanted, f"the behaviour changed: expected {wanted}"
PYTHON
"$folder/venv/bin/python" "$folder/see.py"
