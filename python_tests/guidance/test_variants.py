"""The table of variants: adding one is adding an entry."""

from __future__ import annotations

import math
from typing import get_args, get_type_hints

import pytest
import torch
from oracle import OraclePrior, guidance_batch
from torch import Tensor
from torch.testing import assert_close

import dfast
from dfast.config import Config, GuidanceConfig
from dfast.guidance import (
    VARIANTS,
    DiffusionGuidance,
    Distillation,
    Guidance,
    GuidanceBatch,
    Variant,
    conditions_of,
)

CPU = torch.device("cpu")
TINY = Config().replace(
    field={"grid": {"levels": 3, "log2_entries": 10, "max_resolution": 32}, "hidden": 8},
    occupancy={"resolution": 16},
    march={"step_size": 0.1},
    camera={"views": 2, "resolution": [[0.0, 12]]},
    train={"steps": 3, "log_every": 1},
)


def _toward_text(step: Distillation) -> Tensor:
    """Return eps_c - eps: SDS without guidance."""
    noisy, noise = step.add_noise()
    (text,) = step.predict(noisy)
    return text - noise


def test_the_table_has_what_the_configuration_offers() -> None:
    offered = get_args(get_type_hints(GuidanceConfig)["variant"])
    assert set(offered) == set(VARIANTS)


def test_a_new_variant_computes_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VARIANTS, "toward_text", Variant(_toward_text, ("text",)))
    config = GuidanceConfig(variant="toward_text", weighting="uniform")  # type: ignore[arg-type]
    assert conditions_of(config) == ("text",)
    prior = OraclePrior(12)
    guidance = DiffusionGuidance(config, prior, "a thing", CPU)
    batch = guidance_batch(guidance.noise_schedule, 2)
    x = guidance.encode_images(torch.rand(2, 3, 12, 12))
    gradient = guidance.gradient(x, batch, torch.Generator().manual_seed(1))
    truth = 2.0 * prior.picture(batch.cameras, 12) - 1.0
    ratio = (batch.alpha / batch.sigma).view(-1, 1, 1, 1)
    assert_close(gradient, ratio * (x - truth), rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("needs_native")
def test_a_new_variant_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counted(step: Distillation) -> Tensor:
        calls.append(len(step.x))
        return _toward_text(step)

    monkeypatch.setitem(VARIANTS, "csd", Variant(counted, ("text",)))
    metrics: list[dict[str, float]] = []
    dfast.train(
        "a thing", prior=OraclePrior(12), config=TINY.replace(guidance={"variant": "csd"}),
        device="cpu", progress=False, callbacks=[lambda event: metrics.append(event.metrics)],
    )  # fmt: skip
    assert calls == [2, 2, 2]
    assert all(math.isfinite(m["guidance"]) and m["guidance"] > 0 for m in metrics)


def test_conditions_a_variant_evaluates_alone_are_checked_too() -> None:
    from dfast.errors import ConfigError

    class Wordy(OraclePrior):
        conditions = ("text",)

    config = GuidanceConfig(variant="ism")
    with pytest.raises(ConfigError, match=r"does not know the condition 'null', got 'ism'"):
        DiffusionGuidance(config, Wordy(12), "a thing", CPU)


def test_calls_a_variant_makes_alone() -> None:
    config = GuidanceConfig(variant="ism", inversion_steps=4)
    calls: list[int] = []

    class Counting(OraclePrior):
        def predict_noise(self, *args: object, **options: object) -> Tensor:
            calls.append(len(options["conditions"]))  # type: ignore[arg-type]
            return super().predict_noise(*args, **options)  # type: ignore[arg-type]

    guidance = DiffusionGuidance(config, Counting(12), "a thing", CPU)
    x = guidance.encode_images(torch.rand(2, 3, 12, 12))
    guidance.gradient(
        x, guidance_batch(guidance.noise_schedule, 2), torch.Generator().manual_seed(1)
    )
    alone = VARIANTS["ism"].calls_alone(config)
    assert calls == [1] * alone + [2]


class Learned(Guidance):
    """A guidance with parameters, an optimizer and a state of its own, as VSD will have."""

    def __init__(self) -> None:
        self.color = torch.zeros(3, 1, 1, requires_grad=True)
        self.optimizer = torch.optim.SGD([self.color], lr=0.5)

    def encode_images(self, images: Tensor, *, approximate: bool = False) -> Tensor:
        return images

    def gradient(self, encoded: Tensor, batch: GuidanceBatch, generator: torch.Generator) -> Tensor:
        error = encoded.detach() - self.color
        self.optimizer.zero_grad()
        error.square().mean().backward()
        self.optimizer.step()
        return error.detach()

    def parameters(self) -> list[Tensor]:
        return [self.color]

    def state_dict(self) -> dict[str, Tensor]:
        return {"color": self.color.detach().clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        with torch.no_grad():
            self.color.copy_(state["color"])


def test_a_guidance_may_learn_and_resume() -> None:
    learned, images = Learned(), torch.rand(2, 3, 4, 4)
    batch = guidance_batch(learned.noise_schedule, 2)
    generator = torch.Generator()
    first = learned.gradient(learned.encode_images(images), batch, generator)
    state = learned.state_dict()
    second = learned.gradient(images, batch, generator)
    assert second.square().sum() < first.square().sum()
    again = Learned()
    again.load_state_dict(state)
    assert torch.equal(again.gradient(images, batch, generator), second)


def test_defaults_of_a_guidance() -> None:
    class Still(Guidance):
        def encode_images(self, images: Tensor, *, approximate: bool = False) -> Tensor:
            return images

        def gradient(
            self, encoded: Tensor, batch: GuidanceBatch, generator: torch.Generator
        ) -> Tensor:
            return torch.zeros_like(encoded)

    still = Still()
    alpha, sigma = still.noise_schedule
    assert (alpha.tolist(), sigma.tolist()) == ([1.0], [0.0])  # no noise is added
    assert not still.cuda_graph_safe and not still.approximate_at(0.0)
    assert list(still.parameters()) == [] and still.state_dict() == {}
    still.load_state_dict({})
    assert guidance_batch(still.noise_schedule, 2).t.tolist() == [0, 0]
