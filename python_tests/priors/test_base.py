"""The interface of a prior: its defaults, and objects that do not inherit from it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from oracle import OraclePrior, cosine_schedule
from torch import Tensor

import dfast
from dfast.config import Config, PriorConfig
from dfast.errors import PriorError
from dfast.priors import Prior, as_prior
from dfast.priors.base import Condition
from dfast.scene.cameras import CameraBatch

CPU = torch.device("cpu")
TINY = Config().replace(
    field={"grid": {"levels": 3, "log2_entries": 10, "max_resolution": 32}, "hidden": 8},
    occupancy={"resolution": 16},
    march={"step_size": 0.1},
    camera={"views": 2, "resolution": [[0.0, 12]]},
    train={"steps": 3, "log_every": 1},
)


class Duck:
    """The least that `as_prior` accepts: its data is one grey image. Inherits from nothing."""

    name, image_size = "duck", 8

    def noise_schedule(self, device: torch.device) -> tuple[Tensor, Tensor]:
        alpha, sigma = cosine_schedule()
        return alpha.to(device), sigma.to(device)

    def encode_prompt(self, prompt: str, *, views: str = "camera", negative: str = "") -> str:
        return prompt

    def predict_noise(
        self,
        noisy: Tensor,
        t: Tensor,
        condition: str,
        *,
        cameras: CameraBatch | None,
        textureless: Tensor,
        conditions: tuple[Condition, ...] = ("text",),
    ) -> Tensor:
        sigma = self.noise_schedule(noisy.device)[1][t].view(-1, 1, 1, 1)
        return (noisy / sigma).expand(len(conditions), *noisy.shape)


class Minimal(Prior):
    """A subclass with no optional member."""

    image_size = 8
    noise_schedule = Duck.noise_schedule
    encode_prompt = Duck.encode_prompt
    predict_noise = Duck.predict_noise


def _metrics(prior: Any) -> list[dict[str, float]]:
    found: list[dict[str, float]] = []
    dfast.train(
        "a thing", prior=prior, config=TINY, device="cpu", progress=False,
        callbacks=[lambda event: found.append(event.metrics)],
    )  # fmt: skip
    return found


@pytest.mark.usefixtures("needs_native")
@pytest.mark.parametrize("prior", [Duck(), Minimal()], ids=["duck", "minimal"])
def test_the_least_prior_trains(prior: Any) -> None:
    metrics = _metrics(prior)
    assert len(metrics) == TINY.train.steps
    for values in metrics:
        assert math.isfinite(values["guidance"]) and values["guidance"] > 0


@pytest.mark.usefixtures("needs_native")
def test_a_duck_and_a_subclass_give_the_same_numbers() -> None:
    timing = "seconds_per_step"
    runs = [
        [{k: v for k, v in values.items() if k != timing} for values in _metrics(prior)]
        for prior in (Duck(), Minimal())
    ]
    assert runs[0] == runs[1]


@pytest.mark.usefixtures("needs_native")
def test_a_duck_can_be_estimated() -> None:
    found = dfast.estimate(prior=Duck(), device="cpu", config=TINY)
    assert found.prior == "duck" and found.weights == {} and found.reading == 0


def test_defaults_of_optional_members() -> None:
    images = torch.rand(1, 3, 8, 8)
    for prior in (Minimal(), as_prior(Duck())):
        assert torch.equal(prior.encode_images(images), images)
        assert prior.conditions == ("text", "negative", "null")
        assert not prior.cuda_graph_safe and not prior.is_latent
        assert (prior.family, prior.options, prior.latent_size) == ("shapes", None, 8)
        assert prior.cost_parts() == {} and prior.weight_bytes() == {} and prior.text_bytes() == 0
        assert prior.network is None and prior.notes("a thing") == ()
        prior.check_text("a thing", "")
        prior.load()
    assert Minimal().name == "Minimal" and as_prior(Duck()).name == "duck"


def test_optional_members_of_a_duck_are_used() -> None:
    class Full(Duck):
        conditions: tuple[Condition, ...] = ("text",)
        cuda_graph_safe = True
        family = "sd"
        options = PriorConfig(precision="fp32")
        latent_size = 4
        loaded = 0

        def encode_images(self, images: Tensor, *, approximate: bool = False) -> Tensor:
            return torch.nn.functional.avg_pool2d(images, 2)

        def load(self) -> None:
            self.loaded += 1

    duck = Full()
    prior = as_prior(duck)
    assert prior.conditions == ("text",) and prior.cuda_graph_safe and prior.family == "sd"
    assert prior.options is duck.options and prior.latent_size == 4
    assert prior.is_latent  # it encodes images
    assert prior.encode_images(torch.zeros(1, 3, 8, 8)).shape == (1, 3, 4, 4)
    prior.load()
    assert duck.loaded == 1


def test_a_prior_is_returned_as_it_is() -> None:
    prior = OraclePrior()
    assert as_prior(prior) is prior
    adapted = as_prior(Duck())
    assert as_prior(adapted) is adapted


def test_what_is_no_prior_is_named_with_what_it_lacks() -> None:
    class Nameless(Duck):
        name = property()  # type: ignore[assignment]

    with pytest.raises(PriorError, match=r"the Prior protocol, got Nameless without name$"):
        as_prior(Nameless())
    with pytest.raises(PriorError, match=r"got the class Duck$"):
        as_prior(Duck)
    with pytest.raises(PriorError, match=r"got object without name, image_size, noise_schedule"):
        as_prior(object())


def test_abstract_members_must_be_defined() -> None:
    class Mute(Prior):
        image_size = 8
        noise_schedule = Duck.noise_schedule
        encode_prompt = Duck.encode_prompt

    with pytest.raises(TypeError, match="predict_noise"):
        Mute()  # type: ignore[abstract]
