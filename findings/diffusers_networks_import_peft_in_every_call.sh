#!/usr/bin/env bash
# Where peft is installed, a network of diffusers without any adapter imports it, with its class and in every call.
#
# Expected (guessed before the run): a UNet that has no layer of peft needs none of it, so that an installed peft costs
# nothing as long as no LoRA is loaded.
# Seen with diffusers 0.42.1, peft 0.21.2, transformers 5.24.0, accelerate 1.15.0 and torch 2.13.0 on a CPU, 2026-12-01:
# importing UNet2DConditionModel loads 231 modules of peft, which take 0.8 s by themselves on an Intel Xeon, and peft
# imports models of transformers. Each call of the UNet asks for peft.tuners.tuners_utils twice more, before it looks
# whether there is anything to scale. So a program that keeps peft away while it imports the class gets it with the
# first step, and what stands in for transformers meanwhile is missed by peft.
#
# Usage: findings/diffusers_networks_import_peft_in_every_call.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 diffusers==0.42.1 transformers==5.24.0 accelerate==1.15.0
cat > "$folder/see.py" <<'PYTHON'
import builtins
import sys

import torch
from diffusers import UNet2DConditionModel

loaded = sum(name.split(".")[0] == "peft" for name in sys.modules)
unet = UNet2DConditionModel(
    sample_size=8, block_out_channels=(8,), layers_per_block=1, norm_num_groups=2, cross_attention_dim=8,
    attention_head_dim=2, down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), mid_block_type=None,
)
asked, imports = [], builtins.__import__


def counted(name, *rest):
    asked.append(name)
    return imports(name, *rest)


builtins.__import__ = counted
counts = []
for _ in range(2):
    asked.clear()
    with torch.no_grad():
        unet(torch.zeros(1, 4, 8, 8), 1, torch.zeros(1, 2, 8))
    counts.append(asked.count("peft.tuners.tuners_utils"))
print(f"{loaded} modules of peft", file=sys.stderr)
print(loaded > 100, counts)
PYTHON
export HF_HUB_OFFLINE=1
[ "$("$folder/venv/bin/python" "$folder/see.py")" = "False [0, 0]" ]
"$folder/venv/bin/pip" install -q peft==0.21.2
[ "$("$folder/venv/bin/python" "$folder/see.py")" = "True [2, 2]" ]
