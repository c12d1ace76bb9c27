"""The embedded prior's plain networks are those of diffusers and transformers, without them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from dfast.errors import PriorError
from dfast.priors.embedded import prior as prior_module
from dfast.priors.embedded.model import build_unet, load_folder
from dfast.priors.embedded.prior import WEIGHTS, ShapesPrior
from dfast.priors.embedded.unet import UNet, from_diffusers

CPU = torch.device("cpu")
CAPTIONS = ["a red chair front view", "a blue mug", "", "a snowman with a purple hat overhead view"]

IMPORTS = """
import sys
import dfast.priors, dfast.priors.loading, dfast.priors.pipelines, dfast.priors.embedded
import dfast.guidance
libraries = {"diffusers", "transformers", "tokenizers"}
def show(): print(sorted(libraries & set(sys.modules)))
show()
"""
RUN = """
import torch, dfast
torch.set_num_threads(1)
dfast.train("a red chair", out=None, progress=False, device="cpu", config={
    "field": {"grid": {"levels": 3, "log2_entries": 10}, "hidden": 8},
    "occupancy": {"resolution": 16}, "march": {"step_size": 0.1},
    "train": {"steps": 2, "preview_every": 0}, "camera": {"views": 1, "resolution": [[0.0, 8]]}})
show()
"""


@torch.no_grad()
def test_the_shipped_folder_means_the_same_to_diffusers() -> None:
    """Compare the text encoding, the noise schedule and the UNet's prediction."""
    unet, text_encoder, tokenizer, scheduler = load_folder(WEIGHTS)
    prior = ShapesPrior(CPU, dtype=torch.float32)
    padding = {"padding": "max_length", "max_length": 16, "return_tensors": "pt"}
    tokens = tokenizer(CAPTIONS, **padding).input_ids
    assert torch.equal(prior.tokenizer(CAPTIONS), tokens)
    text = text_encoder(tokens).last_hidden_state
    assert_close(prior.text_encoder(tokens), text, rtol=1e-5, atol=1e-5)
    assert_close(prior.alpha.square(), scheduler.alphas_cumprod, rtol=0.0, atol=1e-6)
    generator = torch.Generator().manual_seed(0)
    x, camera = (torch.randn(4, *s, generator=generator) for s in ((6, 64, 64), (14,)))
    t = torch.tensor([3, 400, 700, 999])
    theirs = unet.eval()(x, t, text, class_labels=camera, return_dict=False)[0]
    assert_close(prior.unet(x, t, text, camera), theirs, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_other_sizes_of_the_network_agree_too() -> None:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(1)
    kinds = {
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }
    config = {**build_unet().config, **kinds, "block_out_channels": (16, 24), "layers_per_block": 2}
    theirs = UNet2DConditionModel.from_config(config).eval()
    for parameter in theirs.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    ours = UNet(theirs.config)
    ours.load_state_dict(from_diffusers(theirs.state_dict()))
    x, text, camera = torch.randn(2, 6, 16, 16), torch.randn(2, 5, 128), torch.randn(2, 14)
    t = torch.tensor([10, 900])
    expected = theirs(x, t, text, class_labels=camera, return_dict=False)[0]
    assert_close(ours(x, t, text, camera), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_cuda")
@torch.no_grad()
def test_a_gpu_predicts_what_a_cpu_does() -> None:
    prior, other = ShapesPrior(CPU, dtype=torch.float32), ShapesPrior(torch.device("cuda"))
    x, camera, text = torch.randn(2, 6, 64, 64), torch.randn(2, 14), torch.randn(2, 16, 128)
    t = torch.tensor([10, 900])
    inputs = [v.cuda().half() for v in (x, text, camera)]
    found = other.unet(inputs[0], t.cuda(), *inputs[1:]).float().cpu()
    expected = prior.unet(x, t, text, camera)
    assert float((found - expected).norm() / expected.norm()) < 1e-2


@pytest.mark.usefixtures("needs_native")
def test_neither_the_packages_nor_a_run_import_model_libraries() -> None:
    code = IMPORTS + RUN
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]"]


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("unet/config.json", {"block_out_channels": [32, 64, 128, 64]}),
        ("text_encoder/config.json", {"hidden_act": "gelu"}),
        ("scheduler/scheduler_config.json", {"beta_schedule": "linear"}),
        ("tokenizer/tokenizer.json", None),
    ],
)
def test_a_folder_that_does_not_fit_is_one_line(file: str, change: object, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(WEIGHTS, folder)
    settings = json.loads((folder / file).read_text())
    if isinstance(change, dict):
        settings |= change
    else:
        settings["model"]["type"] = "BPE"
    (folder / file).write_text(json.dumps(settings))
    with pytest.raises(PriorError, match="prior: cannot load") as error:
        ShapesPrior(CPU, folder)
    assert "\n" not in str(error.value)


def test_a_cpu_with_the_instructions_computes_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = ShapesPrior(CPU, dtype=torch.float32)
    monkeypatch.setattr(prior_module, "multiplies_bfloat16", lambda: False)
    assert ShapesPrior(CPU).dtype == torch.float32
    monkeypatch.setattr(prior_module, "multiplies_bfloat16", lambda: True)
    fast = ShapesPrior(CPU)
    assert fast.dtype == torch.bfloat16
    generator = torch.Generator().manual_seed(0)
    noisy, t = torch.randn(2, 3, 64, 64, generator=generator), torch.tensor([300, 800])
    plain = {"cameras": None, "textureless": torch.zeros(2, dtype=torch.bool)}
    found, expected = (
        p.predict_noise(noisy, t, p.encode_prompt("a red chair"), **plain) for p in (fast, exact)
    )
    assert found.dtype == torch.float32
    assert float((found - expected).norm() / expected.norm()) < 0.02
