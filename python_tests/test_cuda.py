"""What only a GPU can show: no waiting in a step, fixed capacities, agreement with the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfast.background import Background
from dfast.cameras import orbit
from dfast.config import BackgroundConfig, Config, FieldConfig, GridConfig, MarchConfig
from dfast.field import Field
from dfast.occupancy import OccupancyGrid
from dfast.renderer import Rendered, SampleBudget, render
from dfast.shading import fixed_shading
from dfast.trainer import Trainer

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("needs_cuda")]

TINY = Config().replace(
    field={"grid": {"levels": 3, "log2_entries": 10, "max_resolution": 32}, "hidden": 16},
    occupancy={"resolution": 16, "every": 3, "warmup_steps": 6},
    march={"step": 0.05},
    shading={"ambient_only": 0.0},
    camera={"views": 2, "resolution": [[0.0, 16]]},
    train={"steps": 40, "log_every": 1000},
)


class Still:
    """A prior that pulls every picture to grey and never touches the host."""

    name = "still"

    def __init__(self, image_size: int = 16) -> None:
        self.image_size, self.poison = image_size, False

    def alphas(self, device: torch.device) -> tuple[Tensor, Tensor]:
        angle = (torch.arange(100, device=device) + 0.5) * (0.005 * torch.pi)
        return torch.cos(angle), torch.sin(angle)

    def embed(self, prompt: str, *, views: str = "camera", negative: str = "") -> str:
        return prompt

    def predict_noise(
        self, noisy: Tensor, *_: object, roles: tuple[str, ...], **__: object
    ) -> Tensor:
        eps = torch.full_like(noisy, torch.nan) if self.poison else 0.9 * noisy
        return eps.expand(len(roles), *noisy.shape)


def _trainer(prior: Still, config: Config = TINY, seed: int = 0) -> Trainer:
    return Trainer(config, prior, "x", seed, torch.device("cuda"))


@pytest.mark.parametrize(
    "changes", [{}, {"field": {"precision": "half"}}, {"march": {"growth": 0.01}}]
)
@pytest.mark.parametrize("image_size", [16, 32])
def test_a_step_never_waits_for_the_gpu(changes: dict, image_size: int) -> None:
    trainer = _trainer(Still(image_size), TINY.replace(**changes))
    for _ in range(SampleBudget.EXACT_STEPS + 2):
        trainer.train_step()
    torch.cuda.synchronize()
    assert trainer.budget.capacity(16) is not None
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
    before = [p.detach().clone() for p in trainer.field.parameters()]
    moments = {k: v.clone() for k, v in trainer.state_dict().items() if k.startswith("adam.")}
    prior.poison = True
    trainer.train_step()
    after = trainer.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in moments.items())
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.field.parameters(), strict=True))
    assert float(trainer.guard.skipped) == 1
    prior.poison = False
    trainer.train_step()
    assert not torch.equal(before[0], trainer.field.table)
    assert bool(torch.isfinite(trainer.field.table).all())


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
    for other in (again, rest):
        for key, value in whole.state_dict().items():
            assert torch.equal(value.cpu(), other.state_dict()[key].cpu()), key


def _picture(device: str, capacity: int | None = None) -> tuple[Rendered, Field]:
    config = FieldConfig(
        grid=GridConfig(levels=4, log2_entries=12, max_resolution=32), hidden=16, blob_height=6.0
    )
    generator = torch.Generator().manual_seed(0)
    field = Field(config, generator)
    with torch.no_grad():
        field.table.copy_(0.1 * torch.randn(field.table.shape, generator=generator))
    field = field.to(device)
    cameras = orbit(2, device=device)
    pictures = render(
        field, OccupancyGrid(16, device=device), Background(BackgroundConfig()).to(device),
        torch.ones(2, 3, device=device), cameras, fixed_shading("diffuse", cameras), 24,
        MarchConfig(step=0.03), capacity=capacity, want_normals=True,
    )  # fmt: skip
    (pictures.image.square().mean() + pictures.rays.orientation.sum()).backward()
    return pictures, field


def test_slots_past_the_total_contribute_nothing() -> None:
    exact, reference = _picture("cuda")
    total = len(exact.rays.samples.t)
    roomy, field = _picture("cuda", total + 5000)
    samples = roomy.rays.samples
    assert int(samples.num_samples) == total and len(samples.t) == total + 5000
    assert int(samples.offsets[-1]) == total
    assert_close(roomy.image, exact.image, rtol=0, atol=1e-5)
    for a, b in zip(field.parameters(), reference.parameters(), strict=True):
        assert float((a.grad - b.grad).norm()) <= 1e-4 * float(b.grad.norm())


def test_cuda_agrees_with_the_cpu() -> None:
    (one, on_cpu), (two, on_gpu) = _picture("cpu"), _picture("cuda")
    wanted, got = len(one.rays.samples.t), len(two.rays.samples.t)
    assert abs(wanted - got) <= 1e-3 * wanted  # a sample on a cell's face may fall either way
    assert float((one.image - two.image.cpu()).detach().abs().mean()) < 1e-4
    for a, b in zip(on_cpu.parameters(), on_gpu.parameters(), strict=True):  # float and half
        assert float((a.grad - b.grad.cpu()).norm()) <= 2e-2 * float(a.grad.norm())


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
