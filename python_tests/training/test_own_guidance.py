"""The trainer under a guidance that is no diffusion prior and trains a parameter of its own."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor

from dfast.config import Config
from dfast.errors import NonFiniteError
from dfast.guidance.base import Guidance, GuidanceBatch
from dfast.scene.scene import Scene
from dfast.training.generators import Generators
from dfast.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("needs_native")

TINY = Config().replace(
    field={"grid": {"levels": 3, "log2_entries": 10, "max_resolution": 32}, "hidden": 8},
    occupancy={"resolution": 16, "every": 3},
    march={"step_size": 0.1},
    camera={"views": 2, "resolution": [[0.0, 12]]},
    train={"steps": 20, "log_every": 1, "skip_limit": 2},
)


class Grey(Guidance):
    """Pulls images to a grey that it moves by itself."""

    def __init__(self) -> None:
        self.grey = torch.zeros(1)
        self.approximate: list[bool] = []

    @property
    def noise_schedule(self) -> tuple[Tensor, Tensor]:
        angle = (torch.arange(100) + 0.5) * (0.005 * torch.pi)
        return torch.cos(angle), torch.sin(angle)

    def approximate_at(self, progress: float) -> bool:
        return progress < 0.1

    def encode_images(self, images: Tensor, *, approximate: bool = False) -> Tensor:
        self.approximate.append(approximate)
        return images

    def gradient(self, encoded: Tensor, batch: GuidanceBatch, generator: torch.Generator) -> Tensor:
        assert len(batch.cameras) == len(encoded) == len(batch.t)
        noise = torch.rand(encoded.shape, generator=generator)
        self.grey += 0.01
        return batch.sigma.view(-1, 1, 1, 1) * (encoded.detach() - self.grey + 0.01 * noise)

    def parameters(self) -> Iterable[Tensor]:
        return (self.grey,)

    def state_dict(self) -> dict[str, Tensor]:
        return {"grey": self.grey}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.grey.copy_(state["grey"])


class Stateless(Grey):
    """The same without anything to save."""

    def state_dict(self) -> dict[str, Tensor]:
        return {}


def _trainer(guidance: Guidance | None = None, seed: int = 0) -> Trainer:
    generators = Generators.seeded(seed, torch.device("cpu"))
    scene = Scene.from_config(TINY, generators.host)
    return Trainer(TINY, scene, guidance or Grey(), generators, prompt="x", prior_name="grey")


def test_a_run_continues_with_the_state_of_its_guidance() -> None:
    whole, first, rest = _trainer(), _trainer(), _trainer(seed=5)
    rest.train_step()
    for _ in range(6):
        whole.train_step()
    for _ in range(3):
        first.train_step()
    state = {key: value.clone() for key, value in first.state_dict().items()}
    assert state["guidance.grey"].item() == pytest.approx(0.03)
    rest.load_state_dict(state)
    for _ in range(3):
        rest.train_step()
    others = rest.state_dict()
    for key, value in whole.state_dict().items():
        assert torch.equal(value, others[key]), key


def test_keys_of_a_checkpoint() -> None:
    state = _trainer(Stateless()).state_dict()
    prefixes = {key.partition(".")[0] for key in state}
    assert prefixes == {"field", "adam", "occupancy", "rng", "guard", "step"}
    assert {key for key in _trainer().state_dict() if key not in state} == {"guidance.grey"}


def test_the_guidance_says_when_to_encode_approximately() -> None:
    guidance = Grey()
    trainer = _trainer(guidance)
    for _ in range(4):
        trainer.train_step()
    assert guidance.approximate == [True, True, False, False]


def test_parameters_of_the_guidance_are_rewound_with_the_scene() -> None:
    guidance = Grey()
    trainer = _trainer(guidance)
    trainer.train_step()
    good = guidance.grey.item()
    guidance.grey.fill_(torch.nan)
    trainer.train_step()
    assert trainer.health.rewinds == 1 and guidance.grey.item() == pytest.approx(good)
    with pytest.raises(NonFiniteError):
        for _ in range(10):
            guidance.grey.fill_(torch.nan)
            trainer.train_step()
