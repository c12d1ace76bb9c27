#!/usr/bin/env bash
# A LoRA adapter of a convolution with circular padding is another one after it is merged.
#
# Expected (written down before the run): merging an adapter into a Conv2d changes the output by rounding only,
# whatever its stride and padding.
# Seen with peft 0.21.2 and torch 2.13.0 on a CPU, 2026-11-29: true with padding by zeros. With padding_mode
# "circular", "reflect" or "replicate" the two differ by up to two thirds of what the adapter adds, in the outermost
# pixels: the adapter's own convolution is made with the layer's stride and padding but without its padding_mode, so
# it pads with zeros, and the merged weight pads as the layer does. Unmerging gives the first output again. (A
# dilation is left out in the same way, and raises.)
# So a network whose convolutions were made circular, for a texture or a panorama without a seam, has one through its
# adapter while it is trained and none once it is merged.
#
# Usage: findings/peft_conv_adapters_pad_with_zeros.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 peft==0.21.2 transformers==5.24.0 accelerate==1.15.0 numpy
cat > "$folder/see.py" <<'PYTHON'
import peft
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

images = torch.randn(2, 4, 12, 12, generator=torch.Generator().manual_seed(0))
seen = {}
for mode in ("zeros", "circular", "reflect", "replicate"):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, padding_mode=mode)).eval()
    plain = network(images).detach()
    adapted = get_peft_model(network, LoraConfig(r=4, target_modules=["0"]))
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.3)
    apart = adapted(images).detach()
    adapted.merge_adapter()
    merged = adapted(images).detach()
    adapted.unmerge_adapter()
    assert torch.allclose(adapted(images), apart, atol=1e-4)
    off = (merged - apart).abs().amax(dim=(0, 1))
    middle = off[1:-1, 1:-1].max().item()
    seen[mode] = ((apart - plain).abs().max().item(), middle, off.max().item())
    print(f"peft {peft.__version__}, torch {torch.__version__}, {mode}: the adapter adds up to {seen[mode][0]:.3f}; "
          f"merged it is {middle:.1e} off within and {seen[mode][2]:.1e} at the border")
changed = "the behaviour changed: expected merging to change the border of all but zeros"
assert all(middle < 1e-4 for _, middle, _ in seen.values()) and seen.pop("zeros")[2] < 1e-4, changed
assert all(border > 0.1 * added for added, _, border in seen.values()), changed
PYTHON
"$folder/venv/bin/python" "$folder/see.py" 2>/dev/null
