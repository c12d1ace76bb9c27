"""The training loop: its schedule, a resumed training, and steps in CUDA graphs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dfast.priors.embedded.distributed import ProcessGroup
from dfast.priors.embedded.training.loop import MUON_RATE, Options, TrainingLoop
from dfast.priors.embedded.training.muon import hidden

PROGRESS = (0.0, 0.1, 0.5, 0.9, 1.0)
"""Of the time budget, at five steps."""
CPU = torch.device("cpu")


class Tiny(TrainingLoop):
    """Learns what a convolutional network makes of noise."""

    warmup = 2

    def __init__(self, out: Path, device: torch.device = CPU, muon: bool = True) -> None:
        torch.manual_seed(0)
        layers = {
            "conv_in": nn.Conv2d(3, 8, 3, padding=1),
            "first": nn.Sequential(nn.SiLU(), nn.Conv2d(8, 8, 3, padding=1), nn.SiLU()),
            "second": nn.Sequential(nn.Conv2d(8, 4, 1), nn.Flatten(), nn.Linear(4 * 36, 5)),
        }
        model = nn.Sequential(*layers.values())
        model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        options = Options(out, 1.0, 16, 0, 1e-2, 0)
        matrices, others = hidden(model)
        own = (others, matrices) if muon else (model.parameters(), [])
        super().__init__(options, ProcessGroup(0, 1, device), model, own[0], matrices=own[1])
        self.images = torch.Generator(device).manual_seed(7)

    def generators(self) -> list[torch.Generator]:
        return [self.images]

    def loss(self) -> Tensor:
        device = self.group.device
        x = torch.randn(16, 3, 6, 6, device=device, generator=self.images)
        noise = torch.randn(16, 5, device=device, generator=self.generator)
        wanted = x.flatten(1)[:, :5].sin() + 0.1 * noise
        return (self.model(x) - wanted).square().mean()


def state_of(made: Tiny) -> dict[str, Tensor]:
    """Return copies of everything that a step changes."""
    found = {f"weight.{n}": p.detach() for n, p in made.model.named_parameters()}
    for (name, parameter), average in zip(made.model.named_parameters(), made.average, strict=True):
        found[f"average.{name}"] = average
        for optimizer in made.optimizers:
            for key, value in optimizer.state.get(parameter, {}).items():
                found[f"{key}.{name}"] = value
    return {name: t.clone() for name, t in found.items()}


def assert_alike(first: Tiny, second: Tiny, tolerance: float) -> None:
    """Assert that two trainings have the same weights, averages and moments."""
    a, b = state_of(first), state_of(second)
    assert a.keys() == b.keys() and len(a) > 20
    for name in a:
        torch.testing.assert_close(
            a[name], b[name], rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("muon", [True, False])
def test_a_resumed_training_goes_on_as_if_it_had_not_stopped(tmp_path: Path, muon: bool) -> None:
    whole = Tiny(tmp_path / "whole", muon=muon)
    stopped = Tiny(tmp_path / "stopped", muon=muon)
    for progress in PROGRESS[:3]:
        whole.train_step(progress)
        stopped.train_step(progress)
    stopped.checkpoint.save(3, 0.5)
    resumed = Tiny(tmp_path / "stopped", muon=muon)
    assert resumed.step == 3
    resumed.images, resumed.generator = stopped.images, stopped.generator
    for progress in PROGRESS[3:]:
        whole.train_step(progress)
        resumed.train_step(progress)
    assert_alike(whole, resumed, 0.0)


def test_the_schedule_sets_the_length_of_steps_and_the_average(tmp_path: Path) -> None:
    made = Tiny(tmp_path)
    before = [p.detach().clone() for p in made.model.parameters()]
    made.train_step(0.0)  # half of the rate: the first of two steps of warm-up
    assert [float(r) for r in made.rates] == pytest.approx([5e-3, MUON_RATE * 5e-3])
    for parameter, old, average in zip(made.model.parameters(), before, made.average, strict=True):
        expected = old + (1 - 2 / 11) * (parameter.detach() - old)
        torch.testing.assert_close(average, expected, rtol=1e-5, atol=1e-7)
    made.train_step(1.0)
    assert [float(r) for r in made.rates] == pytest.approx([1e-4, MUON_RATE * 1e-4])


@pytest.mark.parametrize("steps", [0, 2])
def test_a_warm_up_leaves_everything_as_it_was(tmp_path: Path, steps: int) -> None:
    made, other = Tiny(tmp_path / "a"), Tiny(tmp_path / "b")
    for _ in range(steps):
        made.train_step(0.2)
        other.train_step(0.2)
    states = [g.get_state() for g in (made.generator, made.images)]
    made._warm_up()
    for generator, state in zip((made.generator, made.images), states, strict=True):
        generator.set_state(state)
    for progress in PROGRESS:
        assert float(made.train_step(progress)) == float(other.train_step(progress))
    assert_alike(made, other, 0.0)
    assert int(made.dropped) == 0


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """The GPU, with exact products."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    return torch.device("cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("muon", [True, False])
def test_captured_steps_are_those_of_python(tmp_path: Path, cuda: torch.device, muon: bool) -> None:
    """Batches, rates, moments and averages are the same; only the order of sums is not."""
    eager, captured = (Tiny(tmp_path / n, cuda, muon) for n in ("eager", "captured"))
    captured.capture()
    assert_alike_before(eager, captured)
    for progress in PROGRESS:
        losses = float(eager.train_step(progress)), float(captured.train_step(progress))
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert_alike(eager, captured, 5e-3)


def assert_alike_before(eager: Tiny, captured: Tiny) -> None:
    """Assert that capturing changed no weights."""
    for a, b in zip(eager.model.parameters(), captured.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert all(not bool(t.any()) for n, t in state_of(captured).items() if n.startswith("exp_avg"))


@pytest.mark.parametrize("where", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_the_schedule_takes_effect(
    tmp_path: Path, where: str, request: pytest.FixtureRequest
) -> None:
    made = Tiny(tmp_path, request.getfixturevalue("cuda") if where == "cuda" else CPU)
    if where == "cuda":
        made.capture()
    lengths = []
    for progress in (0.0, 0.0, 0.5, 1.0):
        before = torch.cat([p.detach().flatten() for p in made.model.parameters()])
        made.train_step(progress)
        after = torch.cat([p.detach().flatten() for p in made.model.parameters()])
        lengths.append(float((after - before).norm()))
    assert lengths[0] < 0.8 * lengths[1]
    assert 0.2 * lengths[1] < lengths[2] < 0.9 * lengths[1]
    assert lengths[3] < 0.05 * lengths[1]


@pytest.mark.gpu
def test_a_training_resumes_in_graphs(tmp_path: Path, cuda: torch.device) -> None:
    whole, stopped = (Tiny(tmp_path / n, cuda) for n in ("whole", "stopped"))
    for made in (whole, stopped):
        made.capture()
        for progress in PROGRESS[:3]:
            made.train_step(progress)
    stopped.checkpoint.save(3, 0.5)
    resumed = Tiny(tmp_path / "stopped", cuda)
    assert resumed.step == 3
    for own, its in ((resumed.images, stopped.images), (resumed.generator, stopped.generator)):
        own.set_state(its.get_state())
    resumed.capture()
    for progress in PROGRESS[3:]:
        whole.train_step(progress)
        resumed.train_step(progress)
    assert_alike(whole, resumed, 5e-3)


@pytest.mark.gpu
def test_captured_steps_drop_what_is_not_finite(tmp_path: Path, cuda: torch.device) -> None:
    made = Tiny(tmp_path, cuda)
    factor, loss = torch.ones((), device=cuda), made.loss
    made.loss = lambda: loss() * factor  # type: ignore[method-assign]
    made.capture()
    assert int(made.dropped) == 0
    for value in (1.0, torch.nan, 1.0, torch.inf):
        factor.fill_(value)
        made.train_step(0.1)
    assert int(made.dropped) == 2
    assert all(bool(p.isfinite().all()) for p in made.model.parameters())
