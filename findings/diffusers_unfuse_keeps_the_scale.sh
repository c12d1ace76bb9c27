#!/usr/bin/env bash
# unfuse_lora does not undo fuse_lora: an adapter that was fused at half its strength stays at half, then a quarter.
#
# Expected (written down before the run): fuse_lora and then unfuse_lora give the model back as it was, and a second
# fuse at the same scale gives the same fused model.
# Seen with diffusers 0.42.1, peft 0.21.2 and torch 2.13.0 on a CPU, 2026-11-29: fuse_lora(lora_scale=0.5) multiplies
# the scaling of every adapter by 0.5 before it merges, and unfuse_lora only takes the product out of the weights
# again. After n rounds of fuse and unfuse the adapter's scaling is 0.5^n, and what is fused at the (n+1)th is
# 0.5^(n+1) of it. The base weights are right, and with lora_scale 1 nothing shows. set_adapters(name) sets the
# scaling back.
# So variational score distillation that fuses part of its adapter for previews distils against a weaker one after
# each.
#
# Usage: findings/diffusers_unfuse_keeps_the_scale.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 diffusers==0.42.1 transformers==5.24.0 peft==0.21.2 numpy
cat > "$folder/see.py" <<'PYTHON'
import diffusers
import peft
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig

torch.manual_seed(0)
unet = UNet2DConditionModel(
    sample_size=8, block_out_channels=(8, 8), layers_per_block=1, cross_attention_dim=8, norm_num_groups=4,
    attention_head_dim=4, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
).eval().requires_grad_(False)
latents, text = torch.randn(1, 4, 8, 8), torch.randn(1, 3, 8)


def answer():
    return unet(latents, 500, text).sample


def same(a, b):
    return torch.allclose(a, b, atol=1e-4)


plain = answer()
unet.add_adapter(LoraConfig(r=4, target_modules=["to_q", "to_k", "to_v", "to_out.0"]), "style")
for name, parameter in unet.named_parameters():
    if "lora_" in name:
        parameter.data.normal_(std=0.5)
at = {}
for scale in (1.0, 0.5, 0.25, 0.125):
    unet.set_adapters("style", scale)
    at[scale] = answer()
assert not any(same(at[a], at[b]) for a in at for b in at if a < b) and not any(same(plain, x) for x in at.values())
unet.set_adapters("style")
seen = []
for _ in range(3):
    unet.fuse_lora(lora_scale=0.5)
    fused = answer()
    unet.unfuse_lora()
    seen.append(tuple(next((s for s, x in at.items() if same(x, y)), None) for y in (fused, answer())))
unet.set_adapters("style")
print(f"diffusers {diffusers.__version__}, peft {peft.__version__}: (fused at 0.5, after unfuse) is the adapter at {seen}")
assert seen == [(0.5, 0.5), (0.25, 0.25), (0.125, 0.125)], "the behaviour changed: expected (0.5, 1.0) three times"
assert same(answer(), at[1.0]), "the behaviour changed: set_adapters does not set the scale back"
PYTHON
"$folder/venv/bin/python" "$folder/see.py" 2>/dev/null
