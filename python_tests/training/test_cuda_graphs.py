"""CUDA graphs of the step: the same run as without, no waiting, and what a failure does."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from oracle import OraclePrior
from torch import Tensor

from dfast.config import Config
from dfast.priors.base import Condition, Prior
from dfast.priors.diffusion import classifier_free_guidance
from dfast.runs.events import Event
from dfast.runs.train import train
from dfast.training.build import build_trainer
from dfast.training.cuda_graphs import CudaGraphCache
from dfast.training.sample_budget import SampleBudget
from dfast.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("needs_native")

TINY = Config().replace(
    field={"grid": {"levels": 3, "log2_entries": 10, "max_resolution": 32}, "hidden": 16},
    occupancy={"resolution": 16, "every": 3, "warmup_steps": 6},
    march={"step_size": 0.05},
    shading={"albedo": 0.0, "ambient_only": 0.0, "ramp": 0.0},
    camera={"views": 2, "resolution": [[0.0, 16]]},
    train={"steps": 60, "log_every": 1000, "preview_every": 0, "checkpoint_every": 0},
)
MIXED = {
    "shading": {"albedo": 1.5, "diffuse": 0.6, "textureless": 0.4},
    "regularizer": {"orientation": [0.0, 0.0]},
}
"""Some steps need normals and some do not, which are two graphs."""
READY = SampleBudget.EXACT_STEPS + 3 * CudaGraphCache.WARMUP + 4
"""Steps after which nothing is left to capture: of the occupancy updates after warm-up, the fourth
is captured."""


class Grey(Prior):
    """A prior that pulls every image to grey and needs nothing of the host."""

    name = "grey"
    image_size = 16
    cuda_graph_safe = True

    def noise_schedule(self, device: torch.device) -> tuple[Tensor, Tensor]:
        angle = (torch.arange(100, device=device) + 0.5) * (0.005 * torch.pi)
        return torch.cos(angle), torch.sin(angle)

    def encode_prompt(self, prompt: str, *, views: str = "camera", negative: str = "") -> str:
        return prompt

    def predict_noise(
        self, noisy: Tensor, *_: Any, conditions: tuple[Condition, ...] = ("text",), **__: Any
    ) -> Tensor:
        return (0.9 * noisy).expand(len(conditions), *noisy.shape)


class Nosy(Grey):
    """A prior that claims to be safe for CUDA graphs, and waits for the device."""

    def predict_noise(
        self, noisy: Tensor, *_: Any, conditions: tuple[Condition, ...] = ("text",), **__: Any
    ) -> Tensor:
        eps = (0.9 if float(noisy.mean()) < 1e9 else 0.8) * noisy
        return eps.expand(len(conditions), *noisy.shape)


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def test_off_cuda_functions_are_called() -> None:
    calls: list[int] = []
    graphs = CudaGraphCache(torch.device("cpu"))

    def function() -> int:
        calls.append(len(calls))
        return calls[-1]

    for i in range(9):
        assert graphs.run("key", function) == i
    assert calls == [*range(9)] and graphs.captures == 0 and not graphs.enabled
    graphs.drop()


def test_cuda_graphs_change_nothing_on_the_cpu() -> None:
    states = []
    for enabled in (True, False):
        config = TINY.replace(train={"cuda_graphs": enabled, "steps": 6})
        trainer = build_trainer(config, OraclePrior(12), "x", 3, torch.device("cpu"))
        for _ in range(6):
            trainer.train_step()
        states.append(trainer.state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_reset_keeps_every_tensor_in_place() -> None:
    trainer = build_trainer(TINY, OraclePrior(12), "x", 0, torch.device("cpu"))
    trainer.train_step()
    live = trainer.model.state()
    before = {k: v.clone() for k, v in live.items()}
    places = {k: v.data_ptr() for k, v in live.items()}
    trainer.model.reset()
    live = trainer.model.state()
    assert places == {k: v.data_ptr() for k, v in live.items()}
    assert not torch.equal(live["field.table"], before["field.table"])
    assert not live["adam.exp_avg.field.table"].any() and float(live["adam.step"]) == 0
    assert float(trainer.scene.occupancy.occupancy()) == 1.0
    trainer.model.restore(before)
    live = trainer.model.state()
    assert places == {k: v.data_ptr() for k, v in live.items()}
    assert all(torch.equal(value, before[key]) for key, value in live.items())


Test = TypeVar("Test", bound=Callable[..., None])

gpu = [pytest.mark.gpu, pytest.mark.usefixtures("needs_cuda")]


def on_gpu(test: Test) -> Test:
    """Mark a test as one that needs a GPU."""
    for mark in gpu:
        test = mark(test)
    return test


def trainer_of(prior: Grey, config: Config = TINY, **settings: Any) -> Trainer:
    """Return a trainer on the GPU; `settings` are those of the section train."""
    config = config.replace(train=settings)
    return build_trainer(config, prior, "x", 0, torch.device("cuda"))


def ready(prior: Grey | None = None, **settings: Any) -> Trainer:
    """Return a trainer whose step is captured."""
    trainer = trainer_of(prior or Grey(), TINY, **settings)
    for _ in range(READY):
        trainer.train_step()
    assert trainer.graphs.enabled and trainer.graphs.captures >= 2
    return trainer


@on_gpu
def test_graphs_replay_with_new_inputs_and_new_randomness() -> None:
    device = torch.device("cuda")
    generator = torch.Generator(device).manual_seed(5)
    reference = torch.Generator(device).manual_seed(5)
    x = torch.zeros(1000, device=device)
    graphs = CudaGraphCache(device, [generator])

    def function() -> Tensor:
        return x + torch.rand(1000, generator=generator, device=device)

    places = set()
    for i in range(8):
        x.fill_(i)
        made = graphs.run("key", function)
        expected = i + torch.rand(1000, generator=reference, device=device)
        assert torch.equal(made, expected)
        if i >= CudaGraphCache.WARMUP:
            places.add(made.data_ptr())
    assert graphs.captures == 1 and len(places) == 1
    graphs.drop()
    graphs.run("key", function)
    assert graphs.captures == 1


@on_gpu
@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("changes", [{}, MIXED])
def test_a_run_with_graphs_is_the_run_without(changes: dict[str, Any]) -> None:
    config = TINY.replace(**changes)
    captured, plain = trainer_of(Grey(), config), trainer_of(Grey(), config, cuda_graphs=False)
    for step in range(40):
        if step == 30:
            captured.model.reset()
            plain.model.reset()
        ours, theirs = captured.train_step(), plain.train_step()
        for key in ("samples", "skipped", "overflows"):
            assert float(ours[key]) == float(theirs[key]), (step, key)
    assert captured.graphs.captures >= 2 and plain.graphs.captures == 0
    others = plain.state_dict()
    for key, value in captured.state_dict().items():
        torch.testing.assert_close(value, others[key], rtol=1e-4, atol=1e-5, msg=key)


@on_gpu
def test_a_fast_run_with_graphs_stays_close() -> None:
    """Atomics add in any order, so runs drift apart, but their images agree."""
    from dfast.runs.recording import result_of

    images = []
    for enabled in (True, False):
        trainer = trainer_of(Grey(), cuda_graphs=enabled)
        for _ in range(30):
            trainer.train_step()
        images.append(torch.from_numpy(result_of(trainer).render(resolution=32)).float())
    assert float((images[0] - images[1]).abs().mean()) < 4.0  # of 255


@on_gpu
@pytest.mark.parametrize("log_every", [1000, 4])
def test_captured_steps_never_wait(log_every: int) -> None:
    trainer = ready(log_every=log_every)
    captures = trainer.graphs.captures
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(20):
            values = trainer.train_step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert trainer.graphs.enabled and trainer.graphs.captures == captures
    assert all(torch.isfinite(torch.as_tensor(v)) for v in values.values())
    assert float(values["skipped"]) == 0 and float(values["gradient_norm"]) > 0


@on_gpu
def test_overflow_is_counted_and_answered() -> None:
    trainer = ready()
    captures = trainer.graphs.captures
    trainer.budget._max_samples = 64
    trainer.budget._pending.clear()  # these counts would prevent the overflow
    for _ in range(SampleBudget.LAG + CudaGraphCache.WARMUP + 6):
        values = trainer.train_step()
    assert float(values["overflows"]) >= 1
    assert (trainer.budget.max_samples(16) or 0) >= float(values["samples"])
    assert trainer.graphs.enabled and trainer.graphs.captures > captures
    overflows = trainer.budget.overflows
    for _ in range(SampleBudget.LAG + 2):
        trainer.train_step()
    assert trainer.budget.overflows == overflows


@on_gpu
def test_a_rewind_works_with_captured_steps() -> None:
    trainer = ready(log_every=2, skip_limit=3)
    with torch.no_grad():
        trainer.scene.field.mlp[0] = torch.nan
    for _ in range(12):
        trainer.train_step()
    assert trainer.health.rewinds == 1 and trainer.graphs.enabled
    assert all(torch.isfinite(p).all() for p in trainer.scene.field.parameters())
    before = trainer.scene.field.table.detach().clone()
    values = trainer.train_step()
    assert float(values["gradient_norm"]) > 0 and not torch.equal(before, trainer.scene.field.table)


@on_gpu
@pytest.mark.usefixtures("deterministic")
def test_a_step_that_cannot_be_captured_runs_without_graph() -> None:
    nosy, plain = trainer_of(Nosy()), trainer_of(Nosy(), cuda_graphs=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(30):
            nosy.train_step()
    said = [w for w in caught if "cannot be captured in a CUDA graph" in str(w.message)]
    assert len(said) == 1 and not nosy.graphs.enabled
    for _ in range(30):
        plain.train_step()
    torch.testing.assert_close(
        nosy.scene.field.table, plain.scene.field.table, rtol=1e-4, atol=1e-5
    )
    ready()  # the failed capture left nothing behind on the device


@on_gpu
def test_a_prior_that_is_not_graph_safe_is_never_captured() -> None:
    class Plain(Nosy):
        cuda_graph_safe = False

    trainer = trainer_of(Plain())
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*cannot be captured")
        for _ in range(READY):
            trainer.train_step()
    assert trainer.graphs.enabled and not trainer._graph_key


@on_gpu
def test_interrupted_and_resumed(tmp_path: Path) -> None:
    def interrupt(event: Event) -> None:
        if event.step == READY:
            signal.raise_signal(signal.SIGINT)

    options: dict[str, Any] = {"prior": Grey(), "device": "cuda", "config": TINY, "progress": False}
    with pytest.raises(KeyboardInterrupt):
        train("x", out=tmp_path / "run", callbacks=(interrupt,), **options)
    steps: list[int] = []
    callbacks = (lambda event: steps.append(event.step),)
    result = train("x", out=tmp_path / "run", resume=True, callbacks=callbacks, **options)
    assert steps == [*range(READY + 1, 61)] and result.steps == 60
    assert torch.isfinite(result.scene.field.table).all()


@on_gpu
def test_the_embedded_prior_can_be_captured() -> None:
    pytest.importorskip("diffusers")
    from dfast.priors.embedded.prior import ShapesPrior
    from dfast.scene.cameras import orbit

    device = torch.device("cuda")
    prior, graphs = ShapesPrior(device), CudaGraphCache(device)
    condition, cameras = prior.encode_prompt("a red chair"), orbit(3, device=device)
    noisy, t = torch.zeros(3, 3, 64, 64, device=device), torch.zeros(3, dtype=torch.int64).cuda()
    white = torch.tensor([False, True, False], device=device)

    def predict() -> Tensor:
        text, negative = prior.predict_noise(
            noisy, t, condition, cameras=cameras, textureless=white, conditions=("text", "negative")
        )
        return classifier_free_guidance(text, negative, 5.0)

    for i in range(CudaGraphCache.WARMUP + 3):
        noisy.normal_()
        t.fill_(100 * i + 50)
        made, expected = graphs.run("prior", predict).clone(), predict()
        assert float((made - expected).norm()) <= 1e-2 * float(expected.norm())
    assert graphs.enabled and graphs.captures == 1
