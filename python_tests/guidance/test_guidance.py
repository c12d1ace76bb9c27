"""Gradients of every variant on priors whose data, under each condition, is one image.

Every prediction is known, and so is every gradient.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from oracle import OraclePrior, cosine_schedule, guidance_batch
from torch import Tensor
from torch.testing import assert_close

from dfast.config import Config, GuidanceConfig
from dfast.errors import ConfigError, PromptError
from dfast.guidance.base import GuidanceBatch
from dfast.guidance.diffusion import DiffusionGuidance
from dfast.guidance.variants import NFSD_NEGATIVE_PROMPT, conditions_of
from dfast.priors.base import Condition
from dfast.scene.cameras import CameraBatch
from dfast.scene.views import perp_neg_weights
from dfast.training.build import build_trainer

CPU = torch.device("cpu")
SIZE = 6
VALUES = {"text": 0.5, "negative": -0.2, "null": 0.1, "perp_neg_front": 0.4, "perp_neg_side": -0.7}


class FlatColors:
    """The data under each condition is one image of a flat colour times a ramp.

    Attributes:
        calls: conditions and cameras of each call of `predict_noise`.
        order: calls of `encode_prompt` and `load`.
    """

    name, image_size = "flat colors", SIZE
    conditions: tuple[Condition, ...] = (
        "text",
        "negative",
        "null",
        "perp_neg_front",
        "perp_neg_side",
    )

    def __init__(self, **values: float) -> None:
        self.values = VALUES | values
        self.alpha, self.sigma = cosine_schedule()
        self.calls: list[tuple[tuple[str, ...], CameraBatch | None]] = []
        self.order: list[tuple[str, ...]] = []

    def noise_schedule(self, device: torch.device) -> tuple[Tensor, Tensor]:
        return self.alpha.to(device), self.sigma.to(device)

    def encode_prompt(self, prompt: str, *, views: str = "camera", negative: str = "") -> str:
        self.order.append(("encode_prompt", prompt, views, negative))
        return "encoded"

    def load(self) -> None:
        self.order.append(("load",))

    def delta(self, condition: str, like: Tensor) -> Tensor:
        return torch.full_like(like, self.values[condition]) * torch.linspace(
            0.5, 1, like.shape[-1]
        )

    def predict_noise(
        self, noisy: Tensor, t: Tensor, prompt: str, *, cameras: CameraBatch | None,
        textureless: Tensor, conditions: tuple[Condition, ...] = ("text",),
    ) -> Tensor:  # fmt: skip
        assert prompt == "encoded" and not noisy.requires_grad
        self.calls.append((conditions, cameras))
        a, s = (v[t].view(-1, 1, 1, 1) for v in (self.alpha, self.sigma))
        return torch.stack(
            [(noisy - a * self.delta(condition, noisy)) / s for condition in conditions]
        )


class Latents(FlatColors):
    """A latent model of 2x2 means; its approximate encoder is off by a third."""

    name = "latents"

    def encode_images(self, images: Tensor, *, approximate: bool = False) -> Tensor:
        if not approximate:
            assert images.shape[-1] == SIZE
            return torch.nn.functional.avg_pool2d(images, 2)
        pooled = torch.nn.functional.adaptive_avg_pool2d(images, SIZE // 2)
        return pooled / 1.5


def _gradient(prior: Any, t: float = 0.6, **guidance: Any) -> tuple[Tensor, Tensor, GuidanceBatch]:
    """Return (gradient, x, inputs) of one step with w(t) = 1."""
    config = Config(guidance=GuidanceConfig(weighting="uniform", **guidance))
    made = DiffusionGuidance(config.guidance, prior, "a thing", CPU)
    inputs = guidance_batch(cosine_schedule(), level=t)
    ramp = config.guidance.negative_weight[0]
    inputs = dataclasses.replace(inputs, negative_weight=torch.tensor([ramp]))
    image = torch.rand(len(inputs.t), 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    x = made.encode_images(image)
    gradient = made.gradient(x, inputs, torch.Generator().manual_seed(1))
    assert gradient.dtype == torch.float32 and not gradient.requires_grad
    return gradient, x.detach(), inputs


class Distilled(FlatColors):
    """Guidance is distilled up to a scale."""

    largest_scale = 4.0

    def predict_guided(
        self, noisy: Tensor, t: Tensor, prompt: str, *, cameras: CameraBatch | None,
        textureless: Tensor, scale: float,
    ) -> Tensor:  # fmt: skip
        options: dict[str, Any] = {"cameras": cameras, "textureless": textureless}
        text, null = self.predict_noise(noisy, t, prompt, **options, conditions=("text", "null"))
        self.calls[-1] = (("guided",), cameras)
        return (1 + scale) * text - scale * null


@pytest.mark.parametrize("variant", ["sds", "ism", "rfds", "rfds_rev"])
def test_distilled_guidance_is_one_call(variant: str) -> None:
    prior, plain = Distilled(negative=0.1), FlatColors(negative=0.1)
    found = _gradient(prior, variant=variant, scale=3.0)[0]
    expected = _gradient(plain, variant=variant, scale=3.0)[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert prior.calls[-1][0] == ("guided",) and plain.calls[-1][0] == ("text", "negative")


@pytest.mark.parametrize(
    "guidance",
    [{"scale": 5.0}, {"scale": 0.0}, {"negative": "ugly"}, {"perp_neg": True}, {"variant": "csd"}],
)
def test_what_was_not_distilled_takes_all_predictions(guidance: dict[str, Any]) -> None:
    prior = Distilled()
    _gradient(prior, **{"scale": 3.0} | guidance)
    assert prior.calls[-1][0][0] == "text" and len(prior.calls[-1][0]) > 1


def _ratio(inputs: GuidanceBatch) -> Tensor:
    return (inputs.alpha / inputs.sigma).view(-1, 1, 1, 1)


def test_sds_of_deltas_leads_past_the_text_and_from_the_negative() -> None:
    prior = FlatColors()
    gradient, x, inputs = _gradient(prior, scale=4.0, negative="blue")
    c, n = prior.delta("text", x), prior.delta("negative", x)
    assert_close(gradient, _ratio(inputs) * (x - c + 4.0 * (n - c)), rtol=1e-4, atol=1e-4)
    assert [conditions for conditions, _ in prior.calls] == [("text", "negative")]  # one batch
    assert prior.order == [("encode_prompt", "a thing", "camera", "blue"), ("load",)]


def test_csd_of_deltas() -> None:
    prior = FlatColors()
    gradient, x, inputs = _gradient(prior, variant="csd", scale=4.0)
    c, u = prior.delta("text", x), prior.delta("null", x)
    assert_close(gradient, _ratio(inputs) * 4.0 * (u - c), rtol=1e-4, atol=1e-4)
    prior = FlatColors()
    options = {"variant": "csd", "scale": 4.0, "negative": "blue", "negative_weight": (0.5, 0.0)}
    gradient, x, inputs = _gradient(prior, **options)
    n = prior.delta("negative", x)
    assert_close(gradient, _ratio(inputs) * 4.0 * (u - c + 0.5 * (n - u)), rtol=1e-4, atol=1e-4)
    assert prior.calls[0][0] == ("text", "null", "negative")


@pytest.mark.parametrize("t", [0.1, 0.6])
def test_nfsd_of_deltas(t: float) -> None:
    prior = FlatColors()
    gradient, x, inputs = _gradient(prior, t, variant="nfsd", scale=2.0)
    c, u, n = (prior.delta(condition, x) for condition in ("text", "null", "negative"))
    if t < 0.2:  # the noise is in eps_0 still
        generator = torch.Generator().manual_seed(1)
        noise = torch.randn(x.shape, generator=generator)
        expected = noise + _ratio(inputs) * (x - u + 2.0 * (u - c))
    else:
        expected = _ratio(inputs) * (n - u + 2.0 * (u - c))
    assert_close(gradient, expected, rtol=1e-4, atol=1e-4)
    assert prior.order[0] == ("encode_prompt", "a thing", "camera", NFSD_NEGATIVE_PROMPT)


def test_ism_of_deltas_leads_from_the_picture_without_words_to_the_text() -> None:
    """Every point of the inversion of a delta at m looks like m, so with no guidance beyond the
    text the gradient is alpha/sigma (m_0 - m_c), and no noise is drawn.
    """
    prior = FlatColors(negative=VALUES["null"])
    gradient, x, inputs = _gradient(prior, variant="ism", scale=0.0, inversion_steps=3)
    c, u = prior.delta("text", x), prior.delta("null", x)
    assert_close(gradient, _ratio(inputs) * (u - c), rtol=1e-3, atol=1e-3)
    calls = [conditions for conditions, _ in prior.calls]
    assert calls == [("null",)] * 4 + [("text", "negative")]
    gradient, _, _ = _gradient(prior, variant="ism", scale=2.0, inversion_steps=3)
    assert_close(gradient, _ratio(inputs) * 3.0 * (u - c), rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("t", [0.02, 0.6])
def test_ism_where_no_words_say_nothing_points_at_the_text(t: float) -> None:
    """Without words any image is likely (eps_0 = 0), so x_t is x, less bright."""

    class Broad(FlatColors):
        def predict_noise(self, noisy: Tensor, *args: Any, **options: Any) -> Tensor:
            predicted = super().predict_noise(noisy, *args, **options)
            return predicted * (options["conditions"] != ("null",))

    prior = Broad()
    gradient, x, inputs = _gradient(prior, t, variant="ism", scale=0.0)
    seen = prior.alpha[0]  # an image counts as its own noisy version at level 0
    expected = _ratio(inputs) * (x / seen - prior.delta("text", x))
    assert_close(gradient, expected, rtol=1e-3, atol=1e-3)


def test_perp_neg_leads_each_view_by_its_own_weights() -> None:
    prior = FlatColors()
    gradient, x, inputs = _gradient(prior, scale=3.0, perp_neg=True)
    assert prior.calls[0][0] == ("text", "negative", "perp_neg_front", "perp_neg_side")
    plain, _, _ = _gradient(FlatColors(), scale=3.0)
    assert_close(gradient, plain, rtol=1e-3, atol=1e-3)  # these deltas are all parallel

    class Crossed(FlatColors):
        def delta(self, condition: str, like: Tensor) -> Tensor:
            """The views differ in other rows of the image, from the text and each other."""
            out = super().delta(condition, like).clone()
            rows = {"perp_neg_front": 1, "perp_neg_side": 2}.get(condition, 0)
            mask = torch.zeros_like(out)
            mask[..., rows, :] = 1.0
            return out * mask

    # The negative, base of it all, is at black: what is perpendicular to row 0 is rows 1 and 2.
    crossed = Crossed(negative=0.0)
    gradient, x, inputs = _gradient(crossed, scale=3.0, perp_neg=True)
    plain, _, _ = _gradient(Crossed(negative=0.0), scale=3.0)
    cameras = inputs.cameras
    weights = perp_neg_weights(cameras.azimuth, cameras.elevation).view(2, -1, 1, 1, 1)
    front, side = (crossed.delta(condition, x) for condition in ("perp_neg_front", "perp_neg_side"))
    pull = 4.0 * _ratio(inputs) * (weights[0] * front + weights[1] * side)
    assert_close(gradient - plain, pull, rtol=1e-3, atol=1e-3)
    assert float(pull.abs().max()) > 0.1


def test_a_prior_gets_no_cameras_without_view_conditioning() -> None:
    prior = FlatColors()
    _gradient(prior, view_conditioning="none")
    assert prior.calls[0][1] is None


def test_latents_carry_the_gradient_to_the_picture() -> None:
    prior = Latents()
    guidance = DiffusionGuidance(GuidanceConfig(linear_until=0.5), prior, "x", CPU)
    image = torch.rand(2, 3, 2 * SIZE, 2 * SIZE, requires_grad=True)
    x = guidance.encode_images(image)
    assert x.shape == (2, 3, SIZE // 2, SIZE // 2)
    (gradient,) = torch.autograd.grad(x.sum(), image)
    assert_close(gradient.sum((-2, -1)), torch.full((2, 3), 2.0 * (SIZE // 2) ** 2))
    # The approximate encoder takes images of the size of the latents.
    cheap = guidance.encode_images(image, approximate=True)
    assert cheap.shape == x.shape and cheap.requires_grad
    at_once = torch.nn.functional.interpolate(
        image, (SIZE // 2,) * 2, mode="bilinear", antialias=True
    )
    assert_close(cheap, (2.0 * at_once - 1.0) / 1.5)
    assert [guidance.approximate_at(p) for p in (0.0, 0.49, 0.5, 1.0)] == [True, True, False, False]


def test_what_a_prior_cannot_do_is_refused_before_it_is_used() -> None:
    with pytest.raises(ConfigError, match=r"'guidance.perp_neg': expected false .*'oracle'"):
        DiffusionGuidance(GuidanceConfig(perp_neg=True), OraclePrior(), "x", CPU)
    with pytest.raises(ConfigError, match=r"linear_until': expected 0 .* sees pixels, got 0.5"):
        DiffusionGuidance(GuidanceConfig(linear_until=0.5), FlatColors(), "x", CPU)
    prior = FlatColors()
    prior.conditions = ("text", "negative")
    with pytest.raises(
        ConfigError, match=r"variant': expected 'sds' .* condition 'null', got 'csd'"
    ):
        DiffusionGuidance(GuidanceConfig(variant="csd"), prior, "x", CPU)
    assert not prior.order


def test_the_embedded_prior_refuses_a_negative_prompt() -> None:
    from dfast.priors import load_prior

    prior = load_prior("shapes", CPU)
    with pytest.raises(PromptError, match="negative"):
        DiffusionGuidance(GuidanceConfig(negative="blurry"), prior, "a red chair", CPU)
    # NFSD has a negative prompt of its own, so the variant is what is refused.
    with pytest.raises(ConfigError, match=r"'guidance.variant': expected 'sds' .* got 'nfsd'"):
        DiffusionGuidance(GuidanceConfig(variant="nfsd"), prior, "a red chair", CPU)
    for variant in ("sds", "csd", "ism"):
        DiffusionGuidance(GuidanceConfig(variant=variant), prior, "a red chair", CPU)


@pytest.mark.parametrize("variant", ["sds", "csd", "nfsd", "ism", "rfds", "rfds_rev"])
@pytest.mark.parametrize("perp_neg", [False, True])
def test_every_condition_is_evaluated_once(variant: Any, perp_neg: bool) -> None:
    conditions = conditions_of(GuidanceConfig(variant=variant, perp_neg=perp_neg, negative="x"))
    assert conditions[0] == "text" and len(set(conditions)) == len(conditions)
    assert ("perp_neg_side" in conditions) is perp_neg


@pytest.mark.usefixtures("needs_native")
@pytest.mark.parametrize(
    "guidance",
    [
        {"variant": "csd", "negative": "blue"}, {"variant": "nfsd"}, {"variant": "ism"},
        {"variant": "rfds"}, {"variant": "rfds_rev"},
        {"perp_neg": True, "linear_until": 0.5},
    ],
    ids=["csd", "nfsd", "ism", "rfds", "rfds_rev", "perp_neg-linear"],
)  # fmt: skip
def test_runs_step_with_every_variant(guidance: dict[str, Any]) -> None:
    config = Config().replace(
        field={"grid": {"levels": 3, "log2_entries": 10, "max_resolution": 32}, "hidden": 8},
        occupancy={"resolution": 16}, march={"step_size": 0.1}, guidance=guidance,
        camera={"views": 2, "resolution": [[0.0, 12]]}, train={"steps": 4},
    )  # fmt: skip
    prior = Latents()
    trainer = build_trainer(config, prior, "x", 0, CPU)
    norms = [float(torch.as_tensor(trainer.train_step()["gradient_norm"])) for _ in range(4)]
    assert all(math.isfinite(norm) and norm > 0 for norm in norms)
