"""What only a GPU can show: no waiting in a step, reserved samples, agreement with the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_fields import FIELDS, TINY
from torch import Tensor
from torch.testing import assert_close

from dfast.config import BackgroundConfig, Config, FieldConfig, GridConfig, MarchConfig
from dfast.nn.field import Field
from dfast.nn.occupancy import OccupancyGrid
from dfast.priors.base import Condition, Prior
from dfast.render.options import RenderOptions
from dfast.render.outputs import Rendering
from dfast.render.volume import render
from dfast.scene.background import Background
from dfast.scene.cameras import orbit
from dfast.scene.lighting import fixed_lighting
from dfast.scene.scene import Scene, build_field
from dfast.training.build import build_trainer
from dfast.training.sample_budget import SampleBudget
from dfast.training.trainer import Trainer

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("needs_cuda")]


class Still(Prior):
    """A prior that pulls every image to grey and needs nothing of the host."""

    name = "still"

    def __init__(self, image_size: int = 16) -> None:
        self.image_size, self.poison = image_size, False

    def noise_schedule(self, device: torch.device) -> tuple[Tensor, Tensor]:
        angle = (torch.arange(100, device=device) + 0.5) * (0.005 * torch.pi)
        return torch.cos(angle), torch.sin(angle)

    def encode_prompt(self, prompt: str, *, views: str = "camera", negative: str = "") -> str:
        return prompt

    def predict_noise(
        self, noisy: Tensor, *_: Any, conditions: tuple[Condition, ...] = ("text",), **__: Any
    ) -> Tensor:
        eps = torch.full_like(noisy, torch.nan) if self.poison else 0.9 * noisy
        return eps.expand(len(conditions), *noisy.shape)


def _trainer(prior: Still, config: Config = TINY, seed: int = 0) -> Trainer:
    return build_trainer(config, prior, "x", seed, torch.device("cuda"))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"field": {"precision": "half"}},
        {"march": {"cone_angle": 0.01}},
        FIELDS["ipe"],
        FIELDS["layout"],
    ],
)
@pytest.mark.parametrize("image_size", [16, 32])
def test_a_step_never_waits_for_the_gpu(changes: dict[str, Any], image_size: int) -> None:
    trainer = _trainer(Still(image_size), TINY.replace(**changes))
    for _ in range(SampleBudget.EXACT_STEPS + 2):
        trainer.train_step()
    torch.cuda.synchronize()
    assert trainer.budget.max_samples(16) is not None
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(6):
            values = trainer.train_step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.isfinite(torch.as_tensor(v)) for v in values.values())
    assert float(values["skipped"]) == 0 and float(values["gradient_norm"]) > 0


def test_non_finite_steps_are_skipped_on_the_device() -> None:
    prior = Still()
    trainer = _trainer(prior)
    trainer.train_step()
    before = [p.detach().clone() for p in trainer.scene.field.parameters()]
    moments = {k: v.clone() for k, v in trainer.state_dict().items() if k.startswith("adam.")}
    prior.poison = True
    trainer.train_step()
    after = trainer.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in moments.items())
    assert all(
        torch.equal(a, b) for a, b in zip(before, trainer.scene.field.parameters(), strict=True)
    )
    assert float(trainer.health.skipped) == 1
    prior.poison = False
    trainer.train_step()
    assert not torch.equal(before[0], trainer.scene.field.table)
    assert bool(torch.isfinite(trainer.scene.field.table).all())


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("deterministic")
def test_deterministic_runs_and_resumed_runs_are_equal() -> None:
    whole, again, first = (_trainer(Still()) for _ in range(3))
    for _ in range(6):
        whole.train_step()
        again.train_step()
    for _ in range(3):
        first.train_step()
    rest = _trainer(Still(), seed=1)
    rest.load_state_dict({k: v.cpu().clone() for k, v in first.state_dict().items()})
    for _ in range(3):
        rest.train_step()
    assert rest.seed == 0
    for name, other in (("again", again), ("resumed", rest)):
        for key, value in whole.state_dict().items():
            assert torch.equal(value.cpu(), other.state_dict()[key].cpu()), f"{name}: {key}"


def _render(device: str, max_samples: int | None = None) -> tuple[Rendering, Field]:
    config = FieldConfig(
        grid=GridConfig(levels=4, log2_entries=12, max_resolution=32), hidden=16, blob_height=6.0
    )
    generator = torch.Generator().manual_seed(0)
    field = build_field(config, generator)
    with torch.no_grad():
        field.table.copy_(0.1 * torch.randn(field.table.shape, generator=generator))
    field = field.to(device)
    cameras = orbit(2, device=device)
    scene = Scene(field, OccupancyGrid(16), Background(BackgroundConfig())).to(device)
    rendering = render(
        scene,
        cameras,
        fixed_lighting("diffuse", cameras),
        RenderOptions(MarchConfig(step_size=0.03), max_samples=max_samples),
        resolution=24,
        colors=torch.ones(2, 3, device=device),
    )
    (rendering.image.square().mean() + rendering.rays.orientation.sum()).backward()
    return rendering, field


def _gradients(field: Field) -> list[Tensor]:
    """Return the gradient of every parameter."""
    gradients = [p.grad for p in field.parameters()]
    assert all(gradient is not None for gradient in gradients)
    return [gradient for gradient in gradients if gradient is not None]


def test_slots_past_the_total_contribute_nothing() -> None:
    exact, reference = _render("cuda")
    total = len(exact.rays.samples.t)
    larger, field = _render("cuda", total + 5000)
    samples = larger.rays.samples
    assert int(samples.num_samples) == total and len(samples.t) == total + 5000
    assert int(samples.offsets[-1]) == total
    assert_close(larger.image, exact.image, rtol=0, atol=1e-5)
    for a, b in zip(_gradients(field), _gradients(reference), strict=True):
        assert float((a - b).norm()) <= 1e-4 * float(b.norm())


def test_cuda_agrees_with_the_cpu() -> None:
    (one, on_cpu), (two, on_gpu) = _render("cpu"), _render("cuda")
    wanted, got = len(one.rays.samples.t), len(two.rays.samples.t)
    assert abs(wanted - got) <= 1e-3 * wanted  # a sample on a cell's face may fall either way
    assert float((one.image - two.image.cpu()).detach().abs().mean()) < 1e-4
    for a, b in zip(_gradients(on_cpu), _gradients(on_gpu), strict=True):  # float and half
        assert float((a - b.cpu()).norm()) <= 2e-2 * float(a.norm())


def test_training_from_end_to_end(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    import dfast

    config = Config.default("cuda").replace(train={"steps": 12, "log_every": 4})
    result = dfast.train(
        "a red chair", device="cuda", out=tmp_path / "run", config=config, progress=False
    )
    picture = result.render(resolution=64)
    assert picture.shape == (64, 64, 3)
    loaded = dfast.load(tmp_path / "run", "cuda")
    assert (loaded.render(resolution=64) == picture).all()
    on_cpu = dfast.load(tmp_path / "run").render(resolution=64)
    assert abs(on_cpu.astype(float) - picture.astype(float)).mean() < 1.0
