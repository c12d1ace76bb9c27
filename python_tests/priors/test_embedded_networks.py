"""The embedded prior's plain networks are those of diffusers and transformers, without them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from procedural import views
from torch import Tensor
from torch.testing import assert_close
from training_pool import save_untrained, untrained_networks

from dfast.errors import PriorError
from dfast.priors.embedded import prior as prior_module
from dfast.priors.embedded.model import (
    LARGEST_SCALE,
    SCALE_FEATURES,
    build_unet,
    camera_features,
    load_folder,
    ray_map,
    scale_features,
)
from dfast.priors.embedded.prior import WEIGHTS, ShapesPrior
from dfast.priors.embedded.unet import UNet, from_diffusers

CPU = torch.device("cpu")
CAPTIONS = [
    "red chair front view",
    "two small red and white striped mug",
    "",
    "plain snowman with plain hat on top of plain table overhead view",
]

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


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small networks with random weights."""
    return save_untrained(tmp_path_factory.mktemp("weights"))


@pytest.fixture(params=["shipped", "untrained"])
def folder(request: pytest.FixtureRequest, untrained: Path) -> Path:
    """The folder in the package, and one of another size."""
    return WEIGHTS if request.param == "shipped" else untrained


def inputs(prior: ShapesPrior, batch: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Return random pixels as the UNet takes them, timesteps and camera vectors."""
    generator = torch.Generator().manual_seed(0)
    channels, size = prior.unet.config["in_channels"], prior.unet.config["sample_size"]
    x = torch.randn(batch, channels, size, size, generator=generator)
    camera = torch.randn(batch, 14, generator=generator)
    return x, torch.tensor([3, 400, 700, 999])[:batch], camera


@torch.no_grad()
def test_a_folder_means_the_same_to_diffusers(folder: Path) -> None:
    """Compare the text encoding, the noise schedule and the UNet's prediction."""
    unet, text_encoder, tokenizer, scheduler = load_folder(folder)
    prior = ShapesPrior(CPU, folder, dtype=torch.float32)
    padding = {"padding": "max_length", "return_tensors": "pt"}
    tokens = tokenizer(CAPTIONS, **padding).input_ids
    assert torch.equal(prior.tokenizer(CAPTIONS), tokens)
    text = text_encoder(tokens).last_hidden_state
    assert_close(prior.text_encoder(tokens), text, rtol=1e-5, atol=1e-5)
    assert_close(prior.alpha.square(), scheduler.alphas_cumprod, rtol=0.0, atol=1e-6)
    x, t, camera = inputs(prior)
    theirs = unet.eval()(x, t, text, class_labels=camera, return_dict=False)[0]
    assert_close(prior.unet(x, t, text, camera), theirs, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_prediction_is_that_of_the_networks_that_were_trained(untrained: Path) -> None:
    """Compare with `Denoiser`, which unshuffles the pixels as training does."""
    prior, model = ShapesPrior(CPU, untrained, dtype=torch.float32), untrained_networks()
    cameras, t = views(30.0, 200.0), torch.tensor([300, 900])
    noisy = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    white = torch.tensor([False, True])
    found = prior.predict_noise(
        noisy,
        t,
        prior.encode_prompt("two corgis in red hats", views="camera"),
        cameras=cameras,
        textureless=white,
        conditions=("text", "negative"),
    )
    said = ["two brown dog with red hat front view", "two plain dog with plain hat back view"]
    vector = camera_features(cameras.azimuth, cameras.elevation, cameras.distance, cameras.fov)
    for eps, captions in zip(found, (said, ["", ""]), strict=True):
        v = model(noisy, t, prior.tokenizer(captions), vector, ray_map(cameras))
        alpha, sigma = (level[t, None, None, None] for level in (prior.alpha, prior.sigma))
        assert_close(eps, alpha * v + sigma * noisy, rtol=5e-3, atol=5e-3)  # half weights


@torch.no_grad()
def test_a_network_that_reads_the_guidance_scale_agrees_too() -> None:
    theirs = untrained_networks(guided=True).unet
    ours = UNet(theirs.config)
    ours.load_state_dict(from_diffusers(theirs.state_dict()))
    x, t = torch.randn(2, 24, 32, 32), torch.tensor([10, 900])
    text, camera, scale = torch.randn(2, 5, 192), torch.randn(2, 14), torch.randn(2, SCALE_FEATURES)
    outputs = []
    for features in (scale, -scale, None):
        options = {"class_labels": camera, "timestep_cond": features, "return_dict": False}
        outputs.append(theirs(x, t, text, **options)[0])
        assert_close(ours(x, t, text, camera, features), outputs[-1], rtol=1e-4, atol=1e-4)
    assert min(float((outputs[0] - other).abs().max()) for other in outputs[1:]) > 1e-3


@torch.no_grad()
def test_a_distilled_network_predicts_guided_noise_in_one_call(tmp_path: Path) -> None:
    prior = ShapesPrior(CPU, save_untrained(tmp_path, guided=True), dtype=torch.float32)
    model = untrained_networks(guided=True)
    cameras, t = views(30.0, 200.0), torch.tensor([300, 900])
    noisy = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    condition = prior.encode_prompt("a red dog", views="camera")
    options = {"cameras": cameras, "textureless": torch.zeros(2, dtype=torch.bool)}
    vector = camera_features(cameras.azimuth, cameras.elevation, cameras.distance, cameras.fov)
    tokens = prior.tokenizer(["red dog front view", "red dog back view"])
    assert prior.largest_scale == LARGEST_SCALE
    for scale in (0.0, 3.0):
        eps = prior.predict_guided(noisy, t, condition, **options, scale=scale)
        told = scale_features(torch.full((2,), scale))
        v = model(noisy, t, tokens, vector, ray_map(cameras), told)
        alpha, sigma = (level[t, None, None, None] for level in (prior.alpha, prior.sigma))
        assert_close(eps, alpha * v + sigma * noisy, rtol=5e-3, atol=5e-3)  # half weights
        plain = prior.predict_noise(noisy, t, condition, **options)[0]
        assert torch.equal(plain, eps) == (scale == 0.0)


@torch.no_grad()
def test_other_sizes_of_the_network_agree_too() -> None:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(1)
    kinds = {
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }
    other = {"block_out_channels": (16, 24), "layers_per_block": 2}
    config = {**build_unet((32, 64, 128, 128), 128).config, **kinds, **other}
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
    x, t, camera = inputs(prior, 2)
    text = torch.randn(2, 16, prior.unet.config["cross_attention_dim"])
    halves = [v.cuda().half() for v in (x, text, camera)]
    found = other.unet(halves[0], t.cuda(), *halves[1:]).float().cpu()
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
        ("unet/config.json", {"sample_size": 16}),
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
