#!/usr/bin/env bash
# Two of diffusers' solvers, run with flow sigmas, stop short of the image: up to 30 % of what they return is noise.
#
# Expected (written down before the run): flow schedulers end at noise level 0, as FlowMatchEulerDiscreteScheduler does.
# The paths of a rectified flow are straight, so that every solver then returns the image exactly if the model gives the
# exact velocity, noise - image.
# Seen with diffusers 0.42.1 and torch 2.13.0 on a CPU, 2026-11-29, for flow_shift 3 and the exact velocity:
#                                       8 steps                    28 steps
#   FlowMatchEuler, UniPC,           ends at 0, exact           ends at 0, exact
#   DPMSolverMultistep, -Singlestep
#   DEISMultistep, SASolver          ends at 0.2998             ends at 0.0999
# DEIS and SASolver repeat the last level where the others append 0, so that the last call of the model goes for a step
# of length zero. What they return (SASolver without the noise that it adds by default) is, but for rounding, image +
# 0.2998 (noise - image); without a shift and at 50 steps it is 2 %. Neither has a setting for it (final_sigmas_type,
# which others have, is no argument of theirs), and nothing is said: the documentation of use_flow_sigmas speaks of step
# sizes only.
# So a solver that was swapped in returns latents with noise in them, which a decoder turns into grain and a 3D decoder
# into floating bits: take one of the other solvers, or go the last step oneself, latents - sigmas[-1] * velocity.
#
# Usage: findings/diffusers_flow_steps_stop_before_the_end.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q diffusers==0.42.1 torch==2.13.0 numpy==2.4.6 scipy==1.17.1
cat > "$folder/see.py" <<'PYTHON'
import warnings

import diffusers
import torch

warnings.filterwarnings("ignore")
diffusers.utils.logging.set_verbosity_error()
IMAGE = torch.full((1, 4, 8, 8), 0.7)
NOISE = torch.randn(IMAGE.shape, generator=torch.manual_seed(0))
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}


def sample(name, steps, shift):
    """Return the last noise level, and the largest distance of the result to the image and to that level's mixture."""
    maker = getattr(diffusers, f"{name}Scheduler")
    if name == "FlowMatchEulerDiscrete":
        solver = maker(shift=shift)
    elif name == "SASolver":
        solver = maker(flow_shift=shift, tau_func=lambda t: 0, **FLOW)  # without the noise that it adds by default
    else:
        solver = maker(flow_shift=shift, **FLOW)
    solver.set_timesteps(steps)
    first, last = float(solver.sigmas[0]), float(solver.sigmas[-1])
    latents = IMAGE + first * (NOISE - IMAGE)
    for timestep in solver.timesteps:
        latents = solver.step(NOISE - IMAGE, timestep, latents).prev_sample
    mixture = IMAGE + last * (NOISE - IMAGE)
    return round(last, 4), float((latents - IMAGE).abs().max()), float((latents - mixture).abs().max())


print(f"diffusers {diffusers.__version__}, torch {torch.__version__}: last level, off the image, off the mixture")
for steps, shift, left in ((8, 3.0, 0.2998), (28, 3.0, 0.0999), (50, 1.0, 0.02)):
    for name in ("FlowMatchEulerDiscrete", "UniPCMultistep", "DPMSolverMultistep", "DPMSolverSinglestep"):
        last, image, _ = sample(name, steps, shift)
        print(f"  {steps} steps, shift {shift}, {name}: {last}, {image:.1e}")
        assert last == 0 and image < 1e-4, f"the behaviour changed: {name}"
    for name in ("DEISMultistep", "SASolver"):
        last, image, mixture = sample(name, steps, shift)
        print(f"  {steps} steps, shift {shift}, {name}: {last}, {image:.1e}, {mixture:.1e}")
        assert abs(last - left) < 2e-4, f"the behaviour changed: the last level of {name}"
        assert image > left, f"the behaviour changed: {name} comes to the image"
        assert mixture < 1e-3, f"the behaviour changed: what {name} returns"
PYTHON
"$folder/venv/bin/python" "$folder/see.py"
