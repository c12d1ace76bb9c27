"""The inputs of steps: drawn in chunks, brought over unchanged, the same for a step's number."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dfast.config import Config
from dfast.scene.background import Background
from dfast.scene.tree import map_tensors, tensors_of
from dfast.training.input_stream import CHUNK, InputStream
from dfast.training.step_inputs import StepInputs, draw

CONFIG = Config.default("cpu").replace(
    camera={"views": 3},
    shading={"ambient_only": 0.5, "albedo": 0.2, "diffuse": 0.4, "textureless": 0.4},
    coarse_to_fine={"levels_start": 2, "levels_until": 0.5},
    optimizer={"warmup_steps": 5, "final": 0.1},
    train={"steps": 100},
)
RESOLUTIONS = (4, 8, 16)
SCHEDULE = torch.linspace(1, 0, 50), torch.linspace(0, 1, 50)


def drawn(steps: range, generator: torch.Generator) -> StepInputs:
    background = Background(CONFIG.background)
    return draw(CONFIG, steps, SCHEDULE, background, RESOLUTIONS, generator, lambda p: (p, 2.0))


def stream(seed: int, device: torch.device) -> InputStream:
    return InputStream(seed, device, drawn)


def copied(inputs: StepInputs) -> list[Tensor]:
    return [tensor.cpu().clone() for tensor in tensors_of(inputs)]


def test_what_is_drawn_arrives_unchanged(device: torch.device) -> None:
    seen: list[StepInputs] = []

    def keep(steps: range, generator: torch.Generator) -> StepInputs:
        seen.append(drawn(steps, generator))
        return seen[-1]

    inputs = InputStream(3, device, keep)
    places = tensors_of(inputs.at(0))
    for step in (0, 1, CHUNK - 1, CHUNK, CHUNK + 5):
        found = inputs.at(step)
        assert all(a is b for a, b in zip(places, tensors_of(found), strict=True))
        row = map_tensors(lambda tensor, row=step % CHUNK: tensor[row], seen[-1])  # type: ignore
        for got, want in zip(tensors_of(found), tensors_of(row), strict=True):
            assert got.device.type == device.type and got.dtype == want.dtype
            assert torch.equal(got.cpu(), want)
        assert found.lighting.lit == bool((row.lighting.diffuse > 0).any())
    assert len(seen) == 2


def test_a_step_depends_on_the_seed_and_its_number_alone() -> None:
    cpu = torch.device("cpu")
    first = stream(7, cpu)
    there = {step: copied(first.at(step)) for step in (0, 5, 40, 41)}
    again = stream(7, cpu)
    for step in (41, 0, 40, 5):
        assert all(map(torch.equal, copied(again.at(step)), there[step]))
    other = copied(stream(8, cpu).at(5))
    assert not any(map(torch.equal, other[:3], there[5][:3]))
    assert not any(map(torch.equal, there[0][:3], there[5][:3]))
    assert not torch.equal(there[5][0], there[40][0])


def test_another_seed_goes_on_in_the_same_tensors(device: torch.device) -> None:
    inputs, want = stream(7, device), stream(8, device)
    places = tensors_of(inputs.at(5))
    inputs.reseed(8)
    for step in (5, 6, CHUNK + 1):
        found, wanted = inputs.at(step), want.at(step)
        assert all(a is b for a, b in zip(places, tensors_of(found), strict=True))
        assert all(map(torch.equal, copied(found), copied(wanted)))
        assert found.lighting.lit == wanted.lighting.lit


def test_schedules_follow_the_number_of_the_step() -> None:
    inputs = stream(0, torch.device("cpu"))
    early, late = (map_tensors(torch.clone, inputs.at(step)) for step in (2, 99))
    assert float(early.rate_factor) == pytest.approx(3 / 5)
    assert float(late.rate_factor) < 0.12
    assert early.level_weights.tolist()[:2] == pytest.approx([1.0, 1.0], abs=0.03)
    assert float(early.level_weights[2]) < 0.2
    assert late.level_weights.tolist() == pytest.approx([1.0, 1.0, 1.0], abs=0.03)
    assert early.loss_weights.tolist() == pytest.approx([0.02, 2.0])
    assert late.loss_weights.tolist() == pytest.approx([0.99, 2.0])
    lit = [inputs.at(step).lighting.lit for step in range(100)]
    assert not any(lit[:50]) and sum(lit[50:]) > 40
    assert inputs.at(150).rate_factor.tolist() == pytest.approx([0.1])  # beyond the end


def test_each_step_is_stratified() -> None:
    config = CONFIG.replace(camera={"views": 8, "stratified": True})
    found = draw(
        config, range(50), SCHEDULE, Background(config.background), RESOLUTIONS,
        torch.Generator().manual_seed(0),
    )  # fmt: skip
    azimuth = found.cameras.azimuth.sort(1).values
    gaps = torch.cat([azimuth[:, 1:], azimuth[:, :1] + 360.0], 1) - azimuth
    assert azimuth.shape == (50, 8) and float(gaps.max()) < 90.0 + 1e-2
    assert found.loss_weights.shape == (50, 0)
    assert torch.equal(found.alpha, SCHEDULE[0][found.t])


def test_no_losses_are_no_weights() -> None:
    def without(steps: range, generator: torch.Generator) -> StepInputs:
        return replace(drawn(steps, generator), loss_weights=torch.empty(len(steps), 0))

    assert InputStream(0, torch.device("cpu"), without).at(3).loss_weights.shape == (0,)
