#!/usr/bin/env bash
# nn.MultiheadAttention over a text that is all padding is zeros while gradients are recorded, and NaN without them.
#
# Expected (written down before the run): in eval mode the output does not depend on whether gradients are recorded or
# whether the weights are asked for, for a sample whose keys are all masked either.
# Seen with torch 2.13.0 on a CPU, 2026-11-29, for the sample that is all padding:
#   gradients recorded, need_weights=False     the bias of the output layer (attention 0)
#   torch.no_grad(), need_weights=False        NaN, by the fast path for inference
#   need_weights=True                          NaN, with gradients and without
#   scaled_dot_product_attention               0 in all cases, bool or float mask, MATH or FLASH_ATTENTION
# nn.TransformerEncoderLayer does the same. The other samples of the batch are right.
# So an empty prompt for classifier-free guidance trains without a complaint, and its first picture is NaN. Keep one
# key, such as the start token, unmasked.
#
# Usage: findings/torch_attention_to_nothing.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 numpy
cat > "$folder/see.py" <<'PYTHON'
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

torch.manual_seed(0)
attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
nn.init.normal_(attention.out_proj.bias)
layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
text = torch.randn(2, 4, 8)
padding = torch.tensor([[False, False, True, True], [True, True, True, True]])


def name(output):
    """Say what the sample without a key is; the other one must be finite."""
    assert output[0].isfinite().all()
    if output[1].isnan().all():
        return "nan"
    return "bias" if torch.allclose(output[1], attention.out_proj.bias.expand(4, 8)) else "finite"


seen = {}
for recorded in (True, False):
    with torch.set_grad_enabled(recorded):
        for weights in (False, True):
            output = attention(text, text, text, key_padding_mask=padding, need_weights=weights)[0]
            seen[f"recorded {recorded}, weights {weights}"] = name(output)
        seen[f"layer, recorded {recorded}"] = name(layer(text, src_key_padding_mask=padding))
print(f"torch {torch.__version__}: {seen}")
heads, kept = text.view(2, 1, 4, 8), ~padding[:, None, None].expand(2, 1, 4, 4)
for backend in (SDPBackend.MATH, SDPBackend.FLASH_ATTENTION):
    for mask in (kept, torch.zeros(2, 1, 4, 4).masked_fill(~kept, -torch.inf)):
        with sdpa_kernel(backend):
            output = F.scaled_dot_product_attention(heads, heads, heads, attn_mask=mask)
        assert (output[1] == 0).all() and output.isfinite().all(), f"the behaviour changed: {backend}"
wanted = {
    "recorded True, weights False": "bias", "recorded True, weights True": "nan", "layer, recorded True": "finite",
    "recorded False, weights False": "nan", "recorded False, weights True": "nan", "layer, recorded False": "nan",
}
assert seen == wanted, f"the behaviour changed: expected {wanted}"
PYTHON
"$folder/venv/bin/python" "$folder/see.py" 2>/dev/null
