"""Runs through a prior of a pipeline folder, and the options with which its networks are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import (
    FAMILIES,
    LATENT,
    PLAIN,
    PROMPT,
    folder,
    load_tiny,
    noise_like,
)
from torch import Tensor

from dfast.priors.loading.weights import size_of


@pytest.mark.parametrize("family", FAMILIES)
def test_training_through_a_folder(family: str, needs_native: None, tmp_path: Path) -> None:
    import dfast

    config = dfast.Config.default().replace(
        field={"grid": {"levels": 3, "log2_entries": 10, "max_resolution": 32}, "hidden": 8},
        occupancy={"resolution": 16},
        march={"step_size": 0.1},
        camera={"views": 2, "resolution": [[0.0, 16]]},
        train={"steps": 3, "log_every": 1},
    )
    losses: list[dict[str, float]] = []
    results = [
        dfast.train(
            PROMPT, prior=str(folder(family)), config=config, progress=False, device="cpu",
            callbacks=[lambda event: losses.append(event.metrics)],
        )
        for _ in range(2)
    ]  # fmt: skip
    first, second = (dict(result.scene.field.named_parameters()) for result in results)
    assert all(torch.equal(first[name], second[name]) for name in first)  # same seed, same bytes
    assert all(loss["guidance"] > 0 and loss["gradient_norm"] > 0 for loss in losses)
    assert results[0].prior == str(folder(family))


@pytest.mark.parametrize(("family", "variant"), [("sd3", "rfds"), ("z-image", "rfds_rev")])
def test_training_through_a_flow(family: str, variant: str, needs_native: None) -> None:
    import dfast

    prior = load_tiny(family, image_size=64)
    config = dfast.Config.for_prior(family).replace(
        field={"grid": {"levels": 3, "log2_entries": 10, "max_resolution": 32}, "hidden": 8},
        occupancy={"resolution": 16},
        march={"step_size": 0.1},
        guidance={"variant": variant, "linear_until": 0.4, "negative": "blurry"},
        camera={"views": 2, "resolution": [[0.0, 16]]},
        train={"steps": 3, "log_every": 1},
        prior={"image_size": 64},
    )
    losses: list[dict[str, float]] = []
    result = dfast.train(
        PROMPT, prior=prior, config=config, progress=False, device="cpu",
        callbacks=[lambda event: losses.append(event.metrics)],
    )  # fmt: skip
    assert len(losses) == 3
    assert all(loss["guidance"] > 0 and loss["gradient_norm"] > 0 for loss in losses)
    assert all(p.isfinite().all() for p in result.scene.field.parameters())


@pytest.mark.parametrize("options", [{"attention_slicing": True}, {"offload": "model"}])
def test_memory_options_change_no_number(options: dict[str, Any]) -> None:
    def predicted(**options: Any) -> Tensor:
        prior = load_tiny("sd15", **options)
        condition = prior.encode_prompt(PROMPT, views="none")
        return prior.predict_noise(
            noise_like(prior), torch.tensor([1, 600]), condition, cameras=None, textureless=PLAIN
        )

    torch.testing.assert_close(predicted(**options), predicted(), rtol=1e-4, atol=1e-5)


def test_compiling_is_announced_and_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compile_options: list[dict[str, Any]] = []

    def compiled(network: Any, **options: Any) -> Any:
        compile_options.append(options)
        return lambda *args, **kwargs: (torch.zeros_like(network(*args, **kwargs)[0]),)

    monkeypatch.setattr(torch, "compile", compiled)
    prior = load_tiny("sd15", compile=True)
    condition = prior.encode_prompt(PROMPT, views="none")
    eps = prior.predict_noise(
        noise_like(prior), torch.tensor([1, 600]), condition, cameras=None, textureless=PLAIN
    )
    assert not eps.any()
    assert compile_options == [{"fullgraph": True, "dynamic": False}]
    assert capsys.readouterr().err == "dfast: compiling the UNet, about a minute\n"


def test_weights_that_come_and_go_are_not_recorded() -> None:
    assert load_tiny("sd15").cuda_graph_safe
    assert not load_tiny("sd15", offload="model").cuda_graph_safe


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_on_the_meta_device_are_the_parts_that_are_loaded(family: str) -> None:
    prior = load_tiny(family)
    meta = prior.cost_parts()
    assert {p.device.type for part in meta.values() for p in part.parameters()} == {"meta"}
    prior.load()
    assert size_of(meta["unet"]) == size_of(prior.unet) > 0
    if family in LATENT:
        assert size_of(meta["vae"]) == size_of(prior.latents.vae) > 0
    assert prior.text_bytes() > 0
