"""VSD: a copy of the prior that begins as the prior and learns what the scene looks like."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from oracle import OraclePrior, guidance_batch
from tiny_models import CPU, PROMPT, load_tiny
from torch import Tensor
from torch.testing import assert_close

import dfast
from dfast.config import Config, GuidanceConfig
from dfast.errors import ConfigError, RunFolderError
from dfast.guidance import GuidanceBatch, VariationalGuidance
from dfast.guidance.sds import sds, vsd
from dfast.priors.base import Prior
from dfast.priors.diffusion import add_noise, classifier_free_guidance
from dfast.training.build import build_trainer
from dfast.training.ranks import Ranks

pytestmark = pytest.mark.usefixtures("needs_native")
CONFIG = Config.default("cpu").replace(
    field={"grid": {"levels": 3, "log2_entries": 10, "max_resolution": 32}, "hidden": 8},
    occupancy={"resolution": 16},
    march={"step_size": 0.1},
    guidance={"variant": "vsd", "vsd_rate": 1e-2},
    camera={"views": 2, "resolution": [[0.0, 12]]},
    train={"steps": 4, "log_every": 1},
)


def made(prior: Prior | None = None, **settings: Any) -> VariationalGuidance:
    config = GuidanceConfig(variant="vsd", weighting="uniform", **settings)
    return VariationalGuidance(config, prior or load_tiny("sd15"), PROMPT, CPU)


def inputs(guidance: VariationalGuidance, views: int = 2) -> tuple[Tensor, GuidanceBatch]:
    """Return latents and what is known of them."""
    image = torch.rand(views, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    batch = guidance_batch(guidance.noise_schedule, views)
    return guidance.encode_images(image).detach(), batch


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_its_direction_is_sds_with_the_predicted_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    guided, noise = torch.randn(2, 2, 3, 4, 4, generator=generator, dtype=torch.float64)
    assert_close(vsd(guided, noise), sds(guided, noise))
    assert vsd(guided.half(), noise.half()).dtype == torch.float32


@pytest.mark.parametrize("negative", ["", "an ugly thing"])
def test_the_first_gradient_is_that_of_a_copy_which_is_the_prior(negative: str) -> None:
    """Then guided - eps_c is w (eps_c - eps_n), with w from `vsd_scale`, not `scale`."""
    guidance = made(negative=negative, vsd_scale=3.0, scale=50.0)
    x, batch = inputs(guidance)
    found = guidance.gradient(x, batch, seeded())
    noisy = add_noise(x, torch.randn(x.shape, generator=seeded()), batch.alpha, batch.sigma)
    text, against = guidance.prior.predict_noise(
        noisy, batch.t, guidance._condition, cameras=batch.cameras,
        textureless=torch.zeros(2, dtype=torch.bool), conditions=("text", "negative"),
    )  # fmt: skip
    assert_close(found, classifier_free_guidance(text, against, 3.0) - text, rtol=1e-3, atol=1e-4)
    assert not found.requires_grad


def test_its_scale_is_that_of_the_paper() -> None:
    assert GuidanceConfig(variant="vsd", scale=100.0).guided_scale == 6.5
    assert GuidanceConfig(scale=100.0).guided_scale == 100.0


def test_the_copy_learns_the_images_and_the_prior_does_not() -> None:
    guidance = made(vsd_rate=1e-2)
    x, batch = inputs(guidance)
    frozen = {k: v.clone() for k, v in guidance.prior.network.state_dict().items()}  # type: ignore[union-attr]

    def error() -> float:
        noise = torch.randn(x.shape, generator=seeded(3))
        noisy = add_noise(x, noise, batch.alpha, batch.sigma)
        with torch.no_grad():
            return float(
                (guidance._predict(noisy, batch.t, batch, guidance._condition) - noise)
                .square()
                .mean()
            )

    before, generator = error(), seeded()
    for _ in range(25):
        guidance.gradient(x, batch, generator)
    assert error() < 0.8 * before
    after = guidance.prior.network.state_dict()  # type: ignore[union-attr]
    assert all(torch.equal(after[name], value) for name, value in frozen.items())


def test_the_copy_learns_the_camera() -> None:
    """Two views of different images: what the camera adds to the time is not the same for both."""
    guidance = made(vsd_rate=1e-2)
    x, batch = inputs(guidance)
    for _ in range(5):
        guidance.gradient(x, batch, seeded())
    last, bias = guidance.copy.parts[-2:]
    assert bool(last.any()) and bool(bias.any())


def test_a_step_that_is_not_finite_leaves_the_copy() -> None:
    guidance = made()
    x, batch = inputs(guidance)
    guidance.gradient(x, batch, seeded())
    before = {k: v.clone() for k, v in guidance.state_dict().items()}
    guidance.gradient(x * torch.nan, batch, seeded())
    assert all(torch.equal(v, before[k]) for k, v in guidance.state_dict().items())


@pytest.mark.parametrize("family", ["sd15", "if-m", "pixart"])
def test_a_resumed_run_is_the_run_that_did_not_stop(family: str) -> None:
    prior = load_tiny(family, image_size=32) if family == "pixart" else load_tiny(family)
    trainer = build_trainer(CONFIG, prior, PROMPT, 3, CPU)
    for _ in range(2):
        trainer.train_step()
    state = {k: v.clone() for k, v in trainer.state_dict().items()}
    assert {"guidance.copy", "guidance.adam.step"} <= set(state)
    for _ in range(2):
        trainer.train_step()
    again = build_trainer(CONFIG, prior, PROMPT, 3, CPU)
    again.load_state_dict(state)
    for _ in range(2):
        again.train_step()
    for name, value in trainer.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert float(trainer.state_dict()["guidance.adam.step"]) == 4


def test_a_checkpoint_of_another_rank_is_refused() -> None:
    prior = load_tiny("sd15")
    state = build_trainer(CONFIG, prior, PROMPT, 3, CPU).state_dict()
    other = CONFIG.replace(guidance={"vsd_rank": 2})
    with pytest.raises(RunFolderError, match="copy must have shape"):
        build_trainer(other, prior, PROMPT, 3, CPU).load_state_dict(state)


def test_a_run_of_vsd(tmp_path: Any) -> None:
    """It trains through the public interface, and its copy is in the checkpoint."""
    from safetensors import safe_open

    metrics: list[dict[str, float]] = []
    dfast.train(
        PROMPT, prior=load_tiny("sd21"), config=CONFIG, device="cpu", progress=False,
        out=tmp_path / "run", callbacks=[lambda event: metrics.append(event.metrics)],
    )  # fmt: skip
    assert len(metrics) == 4 and all(m["guidance"] > 0 for m in metrics)
    with safe_open(tmp_path / "run" / "checkpoint.safetensors", "pt") as file:
        assert {"guidance.copy", "guidance.adam.exp_avg"} <= set(file.keys())


def test_what_it_costs_is_estimated_without_weights() -> None:
    from tiny_models import folder

    known = {"prior": str(folder("sd15")), "device": "cpu"}
    found, plain = (
        dfast.estimate(PROMPT, config=CONFIG.replace(guidance={"variant": variant}), **known)
        for variant in ("vsd", "sds")
    )
    assert found.flops["copy"] == pytest.approx(2 * plain.flops["unet"])
    assert found.flops["unet"] == plain.flops["unet"] and "copy" not in plain.flops


def test_best_of_is_refused(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match="best_of: expected 1 with"):
        dfast.train(
            PROMPT, prior=load_tiny("sd15"), config=CONFIG, device="cpu", best_of=2,
            out=tmp_path / "run",
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_a_prior_without_a_network_is_refused() -> None:
    config = CONFIG.replace(guidance={"view_conditioning": "none"})
    with pytest.raises(ConfigError, match=r"'oracle', of which no copy can be trained") as caught:
        build_trainer(config, OraclePrior(12), PROMPT, 0, CPU)
    assert "\n" not in str(caught.value)


def test_several_processes_are_refused() -> None:
    with pytest.raises(ConfigError, match="one process"):
        build_trainer(CONFIG, load_tiny("sd15"), PROMPT, 0, CPU, ranks=Ranks(0, 2))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("vsd_rank", 0), ("vsd_rank", 257), ("vsd_rate", -1.0), ("vsd_scale", -1.0)],
)
def test_settings_out_of_range(setting: str, value: float) -> None:
    with pytest.raises(ConfigError, match=setting):
        Config().replace(guidance={setting: value})
