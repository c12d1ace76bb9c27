"""Model folders with random weights: the published sizes, and every family loads and samples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dfast.errors import ConfigError
from dfast.guidance.variants import NFSD_NEGATIVE_PROMPT
from dfast.priors import load_prior
from dfast.testing.model_sizes import FAMILIES, PARAMETERS, networks
from dfast.testing.random_models import builders, materialize, write


@pytest.mark.parametrize("family", FAMILIES)
def test_full_unets_have_the_published_number_of_parameters(family: str) -> None:
    with torch.device("meta"):
        unet = builders(networks(family))["unet"]()
    assert sum(p.numel() for p in unet.parameters()) == PARAMETERS[family]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.filterwarnings("ignore")
def test_pipelines_run_on_tiny_folders(family: str, tmp_path: Path) -> None:
    import diffusers

    folder = write(family, tmp_path / family, size="tiny")
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    sides = {} if family.startswith("if") else {"height": 64, "width": 64}
    image = pipeline("a red chair", num_inference_steps=2, output_type="pt", **sides).images
    assert image.isfinite().all() and float(image.std()) > 0


@pytest.mark.parametrize("family", ["sd15", "sdxl", "if-m"])
def test_the_longest_prompt_of_a_run_fits(family: str, tmp_path: Path) -> None:
    prior = load_prior(str(write(family, tmp_path, size="tiny")), torch.device("cpu"))
    prior.encode_prompt("a red chair", negative=NFSD_NEGATIVE_PROMPT)


def test_equal_seeds_write_equal_bytes(tmp_path: Path) -> None:
    name = "unet/diffusion_pytorch_model.safetensors"
    a, b = (write("sd15", tmp_path / n, size="tiny") / name for n in "ab")
    assert a.read_bytes() == b.read_bytes()
    c = write("sd15", tmp_path / "c", size="tiny", seed=1) / name
    assert c.read_bytes() != a.read_bytes()


def test_variant_precision_and_prediction(tmp_path: Path) -> None:
    folder = write(
        "sd21",
        tmp_path,
        size="tiny",
        dtype=torch.float16,
        variant="fp16",
        prediction="v_prediction",
    )
    assert (folder / "unet/diffusion_pytorch_model.fp16.safetensors").exists()
    scheduler = json.loads((folder / "scheduler/scheduler_config.json").read_text())
    assert scheduler["prediction_type"] == "v_prediction"


def test_weights_keep_activations_in_range() -> None:
    """Map unit inputs to outputs of order one, so that half precision does not overflow."""
    for family in ("sd15", "if-m"):
        made = networks(family, "tiny")
        unet = materialize(builders(made)["unet"], torch.device("cpu"), torch.float32)
        side, width = made.unet["sample_size"], made.text_widths[0]
        x = torch.randn(2, unet.config.in_channels, side, side)
        y = unet(x, torch.tensor([3, 700]), torch.randn(2, 7, width), return_dict=False)[0]
        assert 0.01 < float(y.std()) < 100


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="family: expected one of sd15, "):
        networks("sd3")
    with pytest.raises(ConfigError, match="size: expected 'full' or 'tiny', got 'huge'"):
        networks("sd15", "huge")  # type: ignore[arg-type]
