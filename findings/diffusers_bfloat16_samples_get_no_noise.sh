#!/usr/bin/env bash
# add_noise gives bfloat16 samples no noise at all in the first steps of a schedule, or the noise of other steps.
#
# Expected (written down before the run): add_noise(x, noise, t) on bfloat16 tensors adds noise of the standard
# deviation sqrt(1 - alphas_cumprod[t]) within 1 %, rounded like any product in that type.
# Seen with diffusers 0.42.1 and torch 2.13.0 on a CPU, 2026-11-30, with 1000 training steps, for DDPM, DDIM, PNDM, LCM,
# TCD, UnCLIP and SASolver and their kin, the deviation of the noise in bfloat16 and, in brackets, the right one:
#   t                          1                20               40               100
#   squaredcos_cap_v2     0 (0.0094)       0 (0.0434)     0.0625 (0.0753)   0.1650 (0.1686)
#   linear                0 (0.0148)  0.0884 (0.0791)     0.1396 (0.1422)   0.3242 (0.3238)
#   scaled_linear (SD)    0 (0.0413)  0.1396 (0.1367)     0.1973 (0.1952)   0.3242 (0.3252)
# alphas_cumprod is converted to the type of the samples before it is taken from 1. Below 1 bfloat16 has steps of 1/256,
# so that the deviations are roots of multiples of it: the first 100 steps of the cosine schedule have 8 of them, and 0
# up to t = 20. float16, with steps of 1/2048, is 0 up to t = 3. The network is told t all the same. Heun, LMS, KDPM2
# and EulerAncestral, which keep sigmas, are right; CogVideoX's were mended (pull request 9004, which saw the zeros).
# So training such a model in bfloat16 asks for noise that is not there at the 21 cleanest steps, and score distillation
# from t = 20 on, as usual (2 % of 1000), begins with a clean picture, then has 39 % too much noise, and is within 3 %
# from t = 100 on. Add the noise in float32 and round the result.
#
# Usage: findings/diffusers_bfloat16_samples_get_no_noise.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 diffusers==0.42.1 transformers==5.24.0 numpy==2.4.6 scipy==1.17.1
cat > "$folder/see.py" <<'PYTHON'
import diffusers
import torch

STEPS = (1, 20, 40, 100)
SCHEDULES = {
    "squaredcos_cap_v2": {"beta_schedule": "squaredcos_cap_v2"},
    "linear": {"beta_schedule": "linear"},
    "scaled_linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}}


def levels(scheduler, dtype):
    """Return the standard deviations of the noise that add_noise adds at all steps, by noise that is one."""
    clean, noise = torch.zeros(1000, 1, dtype=dtype), torch.ones(1000, 1, dtype=dtype)
    return scheduler.add_noise(clean, noise, torch.arange(1000)).float().flatten()


def last_zero(values):
    """Return the last step without noise, or None."""
    where = (values == 0).nonzero()
    return int(where.max()) if len(where) else None


seen, zeros = {}, {}
print(f"diffusers {diffusers.__version__}, torch {torch.__version__}")
for name, settings in SCHEDULES.items():
    scheduler = diffusers.DDPMScheduler(**settings)
    right = (1 - scheduler.alphas_cumprod).sqrt()
    assert torch.allclose(levels(scheduler, torch.float32), right), "the behaviour changed: float32"
    short = levels(scheduler, torch.bfloat16)
    seen[name] = [(round(short[t].item(), 4), round(right[t].item(), 4)) for t in STEPS]
    zeros[name] = last_zero(short), last_zero(levels(scheduler, torch.float16)), len(short[:100].unique())
    print(f"{name:18}", seen[name], "last without noise in bfloat16 and float16, levels below 100:", zeros[name])
wrong = {}
for kind in ("DDPM", "DDIM", "PNDM", "LCM", "TCD", "UnCLIP", "SASolver", "DDIMParallel", "DDPMParallel"):
    scheduler = getattr(diffusers, f"{kind}Scheduler")(beta_schedule="squaredcos_cap_v2")
    wrong[kind] = last_zero(levels(scheduler, torch.bfloat16))
right = (1 - diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2").alphas_cumprod).sqrt()
for kind in ("HeunDiscrete", "LMSDiscrete", "KDPM2Discrete", "EulerAncestralDiscrete"):
    scheduler = getattr(diffusers, f"{kind}Scheduler")(beta_schedule="squaredcos_cap_v2")
    sample = scheduler.add_noise(torch.zeros(1, 1).bfloat16(), torch.ones(1, 1).bfloat16(), torch.tensor([20]))
    assert 0.99 < sample.item() / right[20] * (1 - right[20] ** 2).sqrt() < 1.01, f"the behaviour changed: {kind}"
for name in ("CogVideoXDDIM", "CogVideoXDPM"):
    values = levels(getattr(diffusers, f"{name}Scheduler")(), torch.bfloat16)
    assert values.min() > 0, f"the behaviour changed: {name}"
cosine = levels(diffusers.DDPMScheduler(**SCHEDULES["squaredcos_cap_v2"]), torch.bfloat16)
off = [float((cosine / right - 1)[t:].abs().max()) for t in (21, 100)]
print(f"off by {off[0]:.2f} from step 21 on, {off[1]:.3f} from step 100 on")
print("last step without noise, cosine schedule:", wrong)
assert zeros["squaredcos_cap_v2"] == (20, 3, 8), "the behaviour changed: the cosine schedule"
assert zeros["linear"][0] == 9 and zeros["scaled_linear"][0] == 1, "the behaviour changed: the other schedules"
assert seen["squaredcos_cap_v2"][1:3] == [(0, 0.0434), (0.0625, 0.0753)], "the behaviour changed: the levels"
assert 0.38 < off[0] < 0.40 and off[1] < 0.031, "the behaviour changed: how far the cosine schedule is off"
assert set(wrong.values()) == {20}, "the behaviour changed: some schedulers"
PYTHON
"$folder/venv/bin/python" "$folder/see.py"
