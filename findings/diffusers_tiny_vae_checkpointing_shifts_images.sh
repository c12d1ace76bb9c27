#!/usr/bin/env bash
# Gradient checkpointing, which should only save memory, makes the tiny autoencoder encode another image.
#
# Expected (written down before the run): enable_gradient_checkpointing() of AutoencoderTiny changes the memory that a
# backward pass takes, and no value: the latents with it equal those without it.
# Seen with diffusers 0.42.1 and torch 2.13.0 on a CPU, 2026-11-29: while gradients are recorded, the encoder with
# checkpointing leaves out its first step, (x + 1) / 2, so that an image in [-1, 1] is read as if it were in [0, 1]: its
# latents are exactly those of 2 x - 1 without checkpointing. It happens in eval mode, too; under torch.no_grad() the latents
# are right, so a check of them there sees nothing. Decoding is not concerned.
# So score distillation or training through a tiny autoencoder pulls towards pictures of another brightness and contrast.
#
# Usage: findings/diffusers_tiny_vae_checkpointing_shifts_images.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 diffusers==0.42.1 transformers==5.24.0 numpy
cat > "$folder/see.py" <<'PYTHON'
import diffusers
import torch
from diffusers import AutoencoderTiny

torch.manual_seed(0)
vae = AutoencoderTiny(
    encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1),
    num_decoder_blocks=(1, 1), latent_channels=4,
).eval()
image = torch.rand(1, 3, 16, 16) * 2 - 1
right, of_another = vae.encode(image).latents.detach(), vae.encode(2 * image - 1).latents.detach()
vae.enable_gradient_checkpointing()
seen = vae.encode(image).latents.detach()
with torch.no_grad():
    unrecorded = vae.encode(image).latents
print(f"latents up to {right.abs().max():.3f}; with checkpointing they are {(seen - right).abs().max():.3f} off,")
print(f"and {(seen - of_another).abs().max():.1e} from those of 2 x - 1; under no_grad {(unrecorded - right).abs().max():.1e} off")
latents = torch.randn(1, 4, 8, 8)
decoded = vae.decode(latents).sample.detach()
vae.disable_gradient_checkpointing()
same = torch.equal(decoded, vae.decode(latents).sample.detach())
print(f"decoding is the same with and without: {same}")
changed = f"the behaviour changed (diffusers {diffusers.__version__}, torch {torch.__version__})"
assert (seen - right).abs().max() > 0.1 * right.abs().max(), changed
assert torch.allclose(seen, of_another, atol=1e-6) and torch.allclose(unrecorded, right, atol=1e-6) and same, changed
PYTHON
"$folder/venv/bin/python" "$folder/see.py" 2>/dev/null
