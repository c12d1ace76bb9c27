"""The table of losses beside the guidance."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from oracle import OraclePrior
from torch import Tensor
from torch.testing import assert_close

from dfast.config import Config, RegularizerConfig
from dfast.render.outputs import Rendering
from dfast.training import regularizers
from dfast.training.build import build_trainer
from dfast.training.losses import Loss, regularizer_losses
from dfast.training.step_inputs import StepInputs
from dfast.training.trainer import Trainer

TINY = Config().replace(
    field={"grid": {"levels": 3, "log2_entries": 10, "max_resolution": 32}, "hidden": 8},
    occupancy={"resolution": 16},
    march={"step_size": 0.1},
    camera={"views": 2, "resolution": [[0.0, 12]]},
    train={"steps": 12},
)


def _trainer(losses: dict[str, Loss] | None, **changes: Any) -> Trainer:
    config = TINY.replace(**changes)
    prior = OraclePrior(12)
    return build_trainer(config, prior, "x", 0, torch.device("cpu"), losses=losses)


def test_regularizers_of_weight_0_are_left_out() -> None:
    everything = RegularizerConfig(
        orientation=(0.0, 0.1),
        normal_variation=0.5,
        darkness=(0.7, 0.6),
        opacity=0.2,
        entropy=0.3,
        total_variation=0.4,
    )
    table = regularizer_losses(everything)
    on_opacity = ["opacity", "entropy", "total_variation"]
    assert list(table) == ["orientation", "normal_variation", "darkness", *on_opacity]
    assert [loss.weight_at(1.0) for loss in table.values()] == [0.1, 0.5, 0.6, 0.2, 0.3, 0.4]
    assert [loss.normals for loss in table.values()] == ["shading", "image", *4 * ["none"]]
    nothing = RegularizerConfig(orientation=(0.0, 0.0), opacity=0.0)
    assert regularizer_losses(nothing) == {}


def test_the_weight_of_orientation_is_a_ramp() -> None:
    config = RegularizerConfig(orientation=(0.1, 0.3), orientation_until=0.5)
    loss = regularizer_losses(config)["orientation"]
    assert [loss.weight_at(p) for p in (0.0, 0.25, 0.5, 1.0)] == pytest.approx([0.1, 0.2, 0.3, 0.3])


def test_the_weight_of_normal_variation_rises_late() -> None:
    config = RegularizerConfig(normal_variation=0.2, normal_variation_from=0.5)
    loss = regularizer_losses(config)["normal_variation"]
    found = [loss.weight_at(p) for p in (0.0, 0.5, 0.75, 1.0)]
    assert found == pytest.approx([0.0, 0.0, 0.1, 0.2])


@pytest.mark.usefixtures("needs_native")
def test_the_losses_on_normals_and_darkness_train_a_run() -> None:
    weights = {"normal_variation": 0.5, "normal_variation_from": 0.0, "darkness": [0.5, 0.5]}
    plain, other = _trainer(None), _trainer(None, regularizer=weights)
    for _ in range(2):
        plain.train_step()
        metrics = other.train_step()
    assert float(metrics["skipped"]) == 0.0
    assert not torch.equal(plain.scene.field.table, other.scene.field.table)


@pytest.mark.usefixtures("needs_native")
def test_an_extra_loss_needs_no_other_trainer() -> None:
    seen: list[tuple[Rendering, StepInputs]] = []

    def brightness(rendering: Rendering, inputs: StepInputs) -> Tensor:
        seen.append((rendering, inputs))
        return rendering.image.mean()

    table = regularizer_losses(TINY.regularizer)
    extra = {**table, "brightness": Loss(brightness, lambda progress: 50.0 * (1.0 - progress))}
    plain, other = _trainer(None), _trainer(extra)
    assert list(plain.losses) == list(table) and list(other.losses) == list(extra)
    for _ in range(2):
        plain.train_step()
        other.train_step()
    assert len(seen) == 2
    rendering, inputs = seen[1]
    assert rendering.image.shape == (2, 3, 12, 12)
    assert_close(inputs.loss_weights[-1], torch.tensor(50.0 * 11 / 12))
    assert not torch.equal(plain.scene.field.table, other.scene.field.table)


@pytest.mark.usefixtures("needs_native")
def test_a_loss_given_by_hand_is_the_configured_one() -> None:
    losses = {"opacity": Loss(lambda r, _: regularizers.opacity(r.opacity), 0.02)}
    nothing = {"orientation": [0.0, 0.0]}
    by_hand = _trainer(losses, regularizer={**nothing, "opacity": 0.0})
    configured = _trainer(None, regularizer={**nothing, "opacity": 0.02})
    for _ in range(3):
        by_hand.train_step()
        configured.train_step()
    others = configured.state_dict()
    assert all(torch.equal(value, others[key]) for key, value in by_hand.state_dict().items())


@pytest.mark.usefixtures("needs_native")
def test_a_loss_that_needs_normals_gets_them() -> None:
    found: list[float] = []

    def value(rendering: Rendering, _: StepInputs) -> Tensor:
        found.append(float(rendering.rays.orientation.detach().sum()))
        return regularizers.orientation(rendering.rays.orientation)

    unlit = {"albedo": 1.0, "diffuse": 0.0, "textureless": 0.0}
    for normals in ("none", "shading"):
        _trainer({"x": Loss(value, 1.0, normals)}, shading=unlit).train_step()
    assert found[0] == 0.0 and found[1] > 0.0


@pytest.mark.usefixtures("needs_native")
def test_a_run_without_losses_follows_the_guidance_alone() -> None:
    trainer = _trainer({})
    inputs = trainer.draw()
    assert inputs.loss_weights.shape == (0,)
    assert float(trainer.train_step()["gradient_norm"]) > 0.0
