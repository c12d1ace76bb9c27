"""An AutoencoderTiny in the place of the VAE's encoder, as diffusers calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import (
    CPU,
    LATENT,
    PROMPT,
    copied,
    edit_json,
    folder,
    image_gradient,
    load_tiny,
    pipeline,
    truncate,
    write_tiny,
)
from torch import Tensor

import dfast
from dfast.config import Config, PriorConfig
from dfast.errors import ConfigError, PriorError
from dfast.priors import load_prior


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("models") / "taesd")


def image(size: int = 64) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("family", [*LATENT, "sd3"])
def test_latents_are_those_of_the_pipeline_with_the_tiny_one(family: str, tmp_path: Path) -> None:
    """Its own scale and shift count, 1 and 0, and not those of the VAE that it replaces."""
    from diffusers import AutoencoderTiny

    channels = load_tiny(family).latents.channels
    path = write_tiny(tmp_path / "tiny", channels)
    prior, pipe = load_tiny(family, vae=str(path)), pipeline(family)
    pipe.vae = AutoencoderTiny.from_pretrained(path)
    with torch.no_grad():
        wanted = pipe.vae.encode(image()).latents
        wanted = (wanted - pipe.vae.config.shift_factor) * pipe.vae.config.scaling_factor
    found = prior.encode_images(image(), approximate="tiny")
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    toward = torch.ones_like(wanted)
    full = image_gradient(prior, image(), toward)
    x = image().requires_grad_(True)
    (cheap,) = torch.autograd.grad((prior.encode_images(x, approximate="tiny") * toward).sum(), x)
    assert float(cheap.abs().max()) > 0 and not torch.allclose(cheap, full)
    assert prior.tiny.vae.decoder is None
    assert not any(p.requires_grad for p in prior.tiny.vae.parameters())


def test_its_own_scale_counts(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "tiny", scaling_factor=0.5, shift_factor=0.25)
    prior = load_tiny("sd15", vae=str(path))
    prior.load()
    raw = prior.tiny.vae.encode(image(), return_dict=False)[0]
    found = prior.encode_images(image(), approximate="tiny")
    torch.testing.assert_close(found, (raw - 0.25) * 0.5)


def test_a_pipeline_whose_own_vae_is_tiny(tmp_path: Path) -> None:
    made, path = copied("sd15", tmp_path), write_tiny(tmp_path / "tiny")
    for file in (made / "vae").iterdir():
        file.unlink()
    for file in path.iterdir():
        file.rename(made / "vae" / file.name)
    prior = load_prior(str(made), CPU)
    prior.load()
    assert prior.encode_images(image()).shape == (2, 4, 8, 8)


def test_what_is_loaded(tiny: Path) -> None:
    """The VAE's encoder is not read where the whole run does without it."""
    whole, part = (load_tiny("sd15", vae=str(tiny), vae_until=until) for until in (1.0, 0.5))
    for prior in (whole, part):
        prior.load()
        assert prior.tiny.vae is not None
    assert whole.latents.vae is None and part.latents.vae is not None
    parts = {n: type(p).__name__ for n, p in whole.cost_parts().items()}
    assert parts["vae"] == "AutoencoderTiny"
    assert type(part.cost_parts()["vae"]).__name__ == "AutoencoderKL"
    assert load_tiny("sd15").tiny_until == 0.0


def test_how_far_it_is_from_the_vae_is_measured(tiny: Path) -> None:
    prior = load_tiny("sd15", vae=str(tiny))
    assert prior.latents.residual(prior.latents) == 0.0
    assert prior.tiny_residual > 0.1  # random weights
    with pytest.raises(PriorError, match=r"prior\.vae: expected an AutoencoderTiny"):
        load_tiny("sd15").tiny_residual  # noqa: B018


@pytest.mark.usefixtures("needs_native")
def test_late_steps_use_the_vae(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dfast.priors.pipelines.vae import LatentEncoder

    used: list[str] = []
    encode = LatentEncoder.encode

    def counted(self: LatentEncoder, images: Tensor) -> Tensor:
        used.append(self.name)
        return encode(self, images)

    monkeypatch.setattr(LatentEncoder, "encode", counted)
    config = Config.default("cpu").replace(
        field={"grid": {"levels": 3, "log2_entries": 10, "max_resolution": 32}, "hidden": 8},
        occupancy={"resolution": 16},
        march={"step_size": 0.1},
        camera={"views": 2, "resolution": [[0.0, 12]]},
        prior={"vae": str(tiny), "vae_until": 0.5},
        train={"steps": 4, "log_every": 1},
    )
    made = [
        dfast.train(PROMPT, prior=str(folder("sd15")), config=config, device="cpu", progress=False)
        for _ in range(2)
    ]
    assert used == 2 * (2 * ["AutoencoderTiny"] + 2 * ["AutoencoderKL"])
    first, second = (r.scene.state_dict() for r in made)
    assert all(torch.equal(second[name], value) for name, value in first.items())
    assert made[0].config.prior.vae == str(tiny)


def test_folders_that_are_refused(tiny: Path, tmp_path: Path) -> None:
    def refused(match: str, family: str = "sd15", **options: Any) -> None:
        with pytest.raises(PriorError, match=match) as caught:
            load_tiny(family, **options).load()
        assert "\n" not in str(caught.value)

    refused(r"prior\.vae: expected a folder, got '/", vae=str(tmp_path / "none"))
    refused("config.json is missing", vae=str(tmp_path))
    refused("expected an AutoencoderTiny .* got AutoencoderKL", vae=str(folder("sd15") / "vae"))
    refused(r"prior\.vae: expected '' with .*pixels", "if-m", vae=str(tiny))
    refused("latents of channels 16 .*got 4", "sd3", vae=str(tiny), image_size=64)
    refused("vae_tiling: expected false with an AutoencoderTiny", vae=str(tiny), vae_tiling=True)
    other = write_tiny(
        tmp_path / "b", encoder_block_out_channels=(8, 8, 8), num_encoder_blocks=(1, 1, 1)
    )
    refused("pixels a latent cell 8 .*got 4", vae=str(other))
    broken = write_tiny(tmp_path / "c")
    truncate(broken / "diffusion_pytorch_model.safetensors")
    refused("damaged", vae=str(broken))
    edit_json(write_tiny(tmp_path / "d") / "config.json", num_encoder_blocks=[1, 1, 1, 2])
    refused(r"its weights have encoder\.layers\.8", vae=str(tmp_path / "d"))
    with pytest.raises(PriorError, match=r"prior\.vae: expected none with the embedded prior"):
        load_prior("shapes", CPU, options=PriorConfig(vae=str(tiny)))
    with pytest.raises(ConfigError, match="vae_until"):
        PriorConfig(vae_until=1.5)
