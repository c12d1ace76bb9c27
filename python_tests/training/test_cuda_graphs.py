"""Recorded steps: the same run as without recording, no waiting, and what happens when it fails."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from oracle import OraclePrior
from torch import Tensor

from dfast.config import Config
from dfast.priors.diffusion import classifier_free_guidance
from dfast.runs.events import Event
from dfast.runs.train import train
from dfast.training.cuda_graphs import CudaGraphCache, StagingBuffer
from dfast.training.sample_budget import SampleBudget
from dfast.training.step_inputs import draw
from dfast.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("needs_native")

TINY = Config().replace(
    field={"grid": {"levels": 3, "log2_entries": 10, "max_resolution": 32}, "hidden": 16},
    occupancy={"resolution": 16, "every": 3, "warmup_steps": 6},
    march={"step": 0.05},
    shading={"albedo": 0.0, "ambient_only": 0.0, "ramp": 0.0},
    camera={"views": 2, "resolution": [[0.0, 16]]},
    train={"steps": 60, "log_every": 1000, "preview_every": 0, "checkpoint_every": 0},
)
MIXED = {
    "shading": {"albedo": 1.5, "diffuse": 0.6, "textureless": 0.4},
    "regularizer": {"orientation": [0.0, 0.0]},
}
"""Some steps need normals and some do not, which are two recordings."""
READY = SampleBudget.EXACT_STEPS + 3 * CudaGraphCache.WARMUP + 4
"""Steps after which nothing is left to record: the last occupancy update to be recorded is call 4
of its kind."""


class Grey:
    """A prior that pulls every picture to grey and never touches the host."""

    name = "grey"
    image_size = 16
    cuda_graph_safe = True

    def noise_schedule(self, device: torch.device) -> tuple[Tensor, Tensor]:
        angle = (torch.arange(100, device=device) + 0.5) * (0.005 * torch.pi)
        return torch.cos(angle), torch.sin(angle)

    def encode_prompt(self, prompt: str, *, views: str = "camera", negative: str = "") -> str:
        return prompt

    def predict_noise(
        self, noisy: Tensor, *_: object, conditions: tuple[str, ...], **__: object
    ) -> Tensor:
        return (0.9 * noisy).expand(len(conditions), *noisy.shape)


class Nosy(Grey):
    """Says that it can be recorded, and asks the host a question."""

    def predict_noise(
        self, noisy: Tensor, *_: object, conditions: tuple[str, ...], **__: object
    ) -> Tensor:
        eps = (0.9 if float(noisy.mean()) < 1e9 else 0.8) * noisy
        return eps.expand(len(conditions), *noisy.shape)


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def test_staging_brings_everything_over(device: torch.device) -> None:
    staging = StagingBuffer(device)
    g = torch.Generator().manual_seed(0)

    def values() -> list[Tensor]:
        return [
            torch.rand(3, generator=g), torch.randint(99, (5,), generator=g),
            torch.rand(2, 3, 3, generator=g), torch.rand(4, 3, generator=g).t(),
            torch.ones(1).expand(2, 1), torch.rand(0), torch.tensor([True]),
            torch.rand(1, generator=g, dtype=torch.float64),
        ]  # fmt: skip

    first = values()
    arrived = staging.send(first)
    for a, b in zip(first, arrived, strict=True):
        assert a.dtype == b.dtype and b.device.type == device.type and torch.equal(a, b.cpu())
    second = values()
    again = staging.send(second)
    assert all(a is b for a, b in zip(arrived, again, strict=True))
    assert all(torch.equal(a, b.cpu()) for a, b in zip(second, again, strict=True))
    with pytest.raises(ValueError, match="tensors must be like those of the first call"):
        staging.send([torch.rand(4), *second[1:]])


def test_step_inputs_survive_the_journey() -> None:
    trainer = Trainer(TINY, Grey(), "x", 0, torch.device("cpu"))
    drawn = draw(
        TINY, 0, trainer._schedule, trainer.background, trainer.field.spec.grid.resolutions,
        trainer.rng.host,
    )  # fmt: skip
    inputs = drawn.replace(StagingBuffer(torch.device("cpu")).send(drawn.tensors()))
    for part in ("cameras", "shading"):
        for name, value in vars(getattr(drawn, part)).items():
            got = getattr(getattr(inputs, part), name)
            assert torch.equal(got, value) if isinstance(value, Tensor) else got == value
    for name in ("colors", "t", "alpha", "sigma", "levels", "factor", "orientation"):
        assert torch.equal(getattr(inputs, name), getattr(drawn, name)), name
    assert inputs.t.dtype == torch.int64 and torch.equal(
        inputs.alpha, trainer._schedule[0][drawn.t]
    )


def test_off_cuda_functions_are_called() -> None:
    calls: list[int] = []
    graphs = CudaGraphCache(torch.device("cpu"))
    for i in range(9):
        assert graphs.run("key", lambda i=i: calls.append(i) or i) == i
    assert calls == [*range(9)] and graphs.captures == 0 and not graphs.enabled
    graphs.drop()


def test_recording_changes_nothing_on_the_cpu() -> None:
    states = []
    for capture in (True, False):
        config = TINY.replace(train={"capture": capture, "steps": 6})
        trainer = Trainer(config, OraclePrior(12), "x", 3, torch.device("cpu"))
        for _ in range(6):
            trainer.train_step()
        states.append(trainer.state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_reseeding_keeps_every_tensor_in_place() -> None:
    trainer = Trainer(TINY, OraclePrior(12), "x", 0, torch.device("cpu"))
    trainer.train_step()
    live = trainer._model_state()
    before, places = (
        {k: v.clone() for k, v in live.items()}, {k: v.data_ptr() for k, v in live.items()}
    )  # fmt: skip
    trainer._reseed()
    live = trainer._model_state()
    assert places == {k: v.data_ptr() for k, v in live.items()}
    assert not torch.equal(live["field.table"], before["field.table"])
    assert not live["adam.exp_avg.field.table"].any() and float(live["adam.step"]) == 0
    assert float(trainer.occupancy.occupancy()) == 1.0
    trainer._load_model_state(before)
    live = trainer._model_state()
    assert places == {k: v.data_ptr() for k, v in live.items()}
    assert all(torch.equal(value, before[key]) for key, value in live.items())


gpu = [pytest.mark.gpu, pytest.mark.usefixtures("needs_cuda")]


def on_gpu(test):  # type: ignore[no-untyped-def]
    for mark in gpu:
        test = mark(test)
    return test


def trainer_of(prior: Grey, config: Config = TINY, **settings: object) -> Trainer:
    config = config.replace(train=settings)
    return Trainer(config, prior, "x", 0, torch.device("cuda"))


def ready(prior: Grey | None = None, **settings: object) -> Trainer:
    """A trainer whose step is recorded."""
    trainer = trainer_of(prior or Grey(), **settings)
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
def test_recorded_run_is_the_run_without_recording(changes: dict) -> None:
    config = TINY.replace(**changes)
    recorded, plain = trainer_of(Grey(), config), trainer_of(Grey(), config, capture=False)
    for step in range(40):
        if step == 30:
            recorded._reseed()
            plain._reseed()
        ours, theirs = recorded.train_step(), plain.train_step()
        for key in ("samples", "skipped", "overflows"):
            assert float(ours[key]) == float(theirs[key]), (step, key)
    assert recorded.graphs.captures >= 2 and plain.graphs.captures == 0
    others = plain.state_dict()
    for key, value in recorded.state_dict().items():
        torch.testing.assert_close(value, others[key], rtol=1e-4, atol=1e-5, msg=key)


@on_gpu
def test_fast_recorded_run_stays_close() -> None:
    """Sums in the order of atomics: runs drift, but the pictures agree."""
    from dfast.runs.train import result_of

    pictures = []
    for capture in (True, False):
        trainer = trainer_of(Grey(), capture=capture)
        for _ in range(30):
            trainer.train_step()
        pictures.append(torch.from_numpy(result_of(trainer).render(resolution=32)).float())
    assert float((pictures[0] - pictures[1]).abs().mean()) < 4.0  # of 255


@on_gpu
@pytest.mark.parametrize("log_every", [1000, 4])
def test_recorded_steps_never_wait(log_every: int) -> None:
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
def test_overflow_is_counted_and_mended() -> None:
    trainer = ready()
    captures = trainer.graphs.captures
    trainer.budget._capacity = 64
    trainer.budget._pending.clear()  # what these say would mend it before it happens
    for _ in range(SampleBudget.LAG + CudaGraphCache.WARMUP + 6):
        values = trainer.train_step()
    assert float(values["overflows"]) >= 1
    assert (trainer.budget.capacity(16) or 0) >= float(values["samples"])
    assert trainer.graphs.enabled and trainer.graphs.captures > captures
    overflows = trainer.budget.overflows
    for _ in range(SampleBudget.LAG + 2):
        trainer.train_step()
    assert trainer.budget.overflows == overflows


@on_gpu
def test_a_rewind_works_with_recorded_steps() -> None:
    trainer = ready(log_every=2, skip_limit=3)
    with torch.no_grad():
        trainer.field.mlp[0] = torch.nan
    for _ in range(12):
        trainer.train_step()
    assert trainer.guard.rewinds == 1 and trainer.graphs.enabled
    assert all(torch.isfinite(p).all() for p in trainer.field.parameters())
    before = trainer.field.table.detach().clone()
    values = trainer.train_step()
    assert float(values["gradient_norm"]) > 0 and not torch.equal(before, trainer.field.table)


@on_gpu
@pytest.mark.usefixtures("deterministic")
def test_a_step_that_cannot_be_recorded_goes_on_without() -> None:
    nosy, plain = trainer_of(Nosy()), trainer_of(Nosy(), capture=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(30):
            nosy.train_step()
    said = [w for w in caught if "cannot be recorded in a CUDA graph" in str(w.message)]
    assert len(said) == 1 and not nosy.graphs.enabled
    for _ in range(30):
        plain.train_step()
    torch.testing.assert_close(nosy.field.table, plain.field.table, rtol=1e-4, atol=1e-5)
    ready()  # the device is as good as new


@on_gpu
def test_a_prior_that_says_no_is_never_recorded() -> None:
    class Plain(Nosy):
        cuda_graph_safe = False

    trainer = trainer_of(Plain())
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*cannot be recorded")
        for _ in range(READY):
            trainer.train_step()
    assert trainer.graphs.enabled and not trainer._recorded


@on_gpu
def test_interrupted_and_resumed(tmp_path: Path) -> None:
    def interrupt(event: Event) -> None:
        if event.step == READY:
            signal.raise_signal(signal.SIGINT)

    options = {"prior": Grey(), "device": "cuda", "config": TINY, "progress": False}
    with pytest.raises(KeyboardInterrupt):
        train("x", out=tmp_path / "run", callbacks=(interrupt,), **options)
    steps: list[int] = []
    result = train(
        "x", out=tmp_path / "run", resume=True, callbacks=(lambda e: steps.append(e.step),),
        **options,
    )  # fmt: skip
    assert steps == [*range(READY + 1, 61)] and result.steps == 60
    assert torch.isfinite(result.field.table).all()


@on_gpu
def test_the_embedded_prior_can_be_recorded() -> None:
    pytest.importorskip("diffusers")
    from dfast.priors.embedded.prior import ShapesPrior
    from dfast.scene.cameras import orbit

    device = torch.device("cuda")
    prior, graphs = ShapesPrior(device), CudaGraphCache(device)
    condition, cameras = prior.encode_prompt("a red chair"), orbit(3, device=device)
    noisy, t = torch.zeros(3, 3, 64, 64, device=device), torch.zeros(3, dtype=torch.int64).cuda()
    white = torch.tensor([False, True, False], device=device)

    def predict() -> Tensor:
        both = prior.predict_noise(
            noisy, t, condition, cameras=cameras, textureless=white, conditions=("text", "negative")
        )
        return classifier_free_guidance(*both, 5.0)

    for i in range(CudaGraphCache.WARMUP + 3):
        noisy.normal_()
        t.fill_(100 * i + 50)
        made, expected = graphs.run("prior", predict).clone(), predict()
        assert float((made - expected).norm()) <= 1e-2 * float(expected.norm())
    assert graphs.enabled and graphs.captures == 1
