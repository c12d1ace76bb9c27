#!/usr/bin/env bash
# A change in a copy of a model's configuration is dropped without a word, if the setting was left at its default before.
#
# Expected (written down before the run): Model.from_config({**model.config, key: value}) has the value, whatever the key:
# the dictionary says so, and from_config takes dictionaries.
# Seen with diffusers 0.42.1 and torch 2.13.0 on a CPU, 2026-11-29: a setting that the first model was given explicitly is
# changed (norm_num_groups 4 to 2), one that it left at its default is not (in_channels stays 4, time_cond_proj_dim stays
# None), and nothing is said. model.config has an entry _use_default_values that lists the settings to set back, and the
# copy brings it along. Without that entry, or with the change as a keyword of from_config, the value arrives.
# So a network with one more input channel, made from the configuration of another, is the other network.
#
# Usage: findings/diffusers_config_copy_drops_changes.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 diffusers==0.42.1 transformers==5.24.0 numpy
cat > "$folder/see.py" <<'PYTHON'
import diffusers
import torch
from diffusers import UNet2DConditionModel

model = UNet2DConditionModel(
    sample_size=8, block_out_channels=(8, 8), layers_per_block=1, cross_attention_dim=8, norm_num_groups=4,
    down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"), mid_block_type=None,
)
given, default = {"norm_num_groups": 2}, {"in_channels": 5, "time_cond_proj_dim": 4}
seen = {}
for key, value in (given | default).items():
    copy = {**model.config, key: value}
    pruned = {k: v for k, v in copy.items() if k != "_use_default_values"}
    found = [
        UNet2DConditionModel.from_config(copy).config[key],
        UNet2DConditionModel.from_config(pruned).config[key],
        UNet2DConditionModel.from_config(model.config, **{key: value}).config[key],
    ]
    print(f"{key}: {model.config[key]} to {value}: by a copy {found[0]}, without _use_default_values {found[1]}, "
          f"by a keyword {found[2]}")
    seen[key] = found
changed = f"the behaviour changed (diffusers {diffusers.__version__}, torch {torch.__version__})"
assert seen["norm_num_groups"] == [2, 2, 2], changed
assert seen["in_channels"] == [4, 5, 5], changed
assert seen["time_cond_proj_dim"] == [None, 4, 4], changed
PYTHON
"$folder/venv/bin/python" "$folder/see.py" 2>/dev/null
