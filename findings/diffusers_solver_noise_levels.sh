#!/usr/bin/env bash
# add_noise of the multistep solvers gives timestep t the noise of timestep 999 - t, or of the last step, without a word.
#
# Expected (written down before the run): add_noise(x, noise, t) has the noise level of t, as DDPMScheduler has it,
# before set_timesteps (which training never calls) and after it; or, after it, an error for a t that is not among the
# steps.
# Seen with diffusers 0.42.1 and torch 2.13.0 on a CPU, 2026-11-29, for DPMSolverMultistep, DPMSolverSinglestep, UniPC
# and DEIS with the betas of Stable Diffusion, sigma / alpha of the noisy sample:
#   t                              10      501      980
#   DDPM, SASolver             0.0983   1.6237  13.0431
#   before set_timesteps      13.7600   1.6075   0.1345   (the levels of 989, 498 and 19)
#   after set_timesteps(25)    0.1991   0.1991   0.1991   (the level of 40, the last of the 25 steps)
# Before set_timesteps the timesteps run down from 999 and the sigmas run up, and the index in the one is used in the
# other; afterwards a timestep that is not in the list gets the index of its last entry. EulerDiscrete is right before
# set_timesteps and raises IndexError afterwards.
# So score distillation that takes the scheduler of a pipeline asks the network about one noise level and feeds it
# another; in the middle of the schedule the two agree, so that it seems to work.
#
# Usage: findings/diffusers_solver_noise_levels.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 diffusers==0.42.1 transformers==5.24.0 numpy
cat > "$folder/see.py" <<'PYTHON'
import diffusers
import torch

TIMES = (10, 501, 980)
WRONG = ("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "UniPCMultistepScheduler", "DEISMultistepScheduler")
RIGHT = ("DDPMScheduler", "SASolverScheduler")


def levels(scheduler):
    """Return sigma / alpha that add_noise gives each of the times."""
    one = torch.ones(1, 1, 1, 1)
    pairs = [(scheduler.add_noise(0 * one, one, torch.tensor([t])), scheduler.add_noise(one, 0 * one, torch.tensor([t])))
             for t in TIMES]
    return [(sigma / alpha).item() for sigma, alpha in pairs]


def close(a, b):
    return all(abs(x - y) < 1e-3 * y for x, y in zip(a, b, strict=True))


changed = f"the behaviour changed (diffusers {diffusers.__version__})"
for name in RIGHT + WRONG:
    scheduler = getattr(diffusers, name)(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    variance = 1 - scheduler.alphas_cumprod
    truth = (variance / scheduler.alphas_cumprod).sqrt()
    before = levels(scheduler)
    scheduler.set_timesteps(25)
    after, last = levels(scheduler), int(scheduler.timesteps[-1])
    print(name, "before", [round(x, 4) for x in before], "after", [round(x, 4) for x in after])
    asked = [truth[t].item() for t in TIMES]
    if name in RIGHT:
        assert close(before, asked) and close(after, asked), changed
    else:
        assert close(before, [truth[999 - t].item() for t in TIMES]), changed
        assert not set(TIMES) & set(scheduler.timesteps.tolist()) and close(after, [truth[last].item()] * 3), changed
PYTHON
"$folder/venv/bin/python" "$folder/see.py" 2>/dev/null
