"""CLIP-Mesh and Dream Fields step by step: schedules, what is drawn, and where they go."""

from __future__ import annotations

import pytest
import tiny_clip
import torch
from tiny_methods import TINY_FIELD, TINY_MESH

from dfast.clip import load_clip
from dfast.config import Config
from dfast.config.clip_mesh import laplacian_weight, rate_factor
from dfast.config.dream_fields import opacity_target
from dfast.errors import ConfigError
from dfast.guidance.clip import ClipGuide
from dfast.training.build import build_trainer
from dfast.training.clip_mesh import ClipMeshTrainer
from dfast.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("needs_native")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def guide() -> ClipGuide:
    return ClipGuide(load_clip(str(tiny_clip.folder()), CPU))


def similarities(trainer: Trainer, steps: int) -> list[float]:
    return [float(trainer.train_step()["similarity"]) for _ in range(steps)]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_a_mesh_moves_towards_the_text(guide: ClipGuide) -> None:
    config = TINY_MESH.replace(
        camera={"distance": [1.6, 1.8], "fov": [40.0, 40.0]},
        clip_mesh={"offset": 0.0, "lr_maps": 0.05},
        train={"steps": 60},
    )
    found = similarities(build_trainer(config, guide, "a red chair", 0, CPU), 60)
    assert mean(found[-10:]) > mean(found[:10]) + 0.02


def test_a_field_moves_towards_the_text(guide: ClipGuide) -> None:
    config = TINY_FIELD.replace(train={"steps": 60})
    found = similarities(build_trainer(config, guide, "a red chair", 0, CPU), 60)
    assert mean(found[-10:]) > mean(found[:10]) + 0.02


def test_the_schedules_of_clip_mesh() -> None:
    config = Config.for_method("clip-mesh").clip_mesh
    assert laplacian_weight(0.0, config) == pytest.approx(30.0)
    assert laplacian_weight(1.0, config) == pytest.approx(0.6)
    weight = 30.0
    for step in range(1, 1001):  # as the paper's code does it, one step after the other
        weight = (weight - 0.6) * 10 ** (-1e-6 * step) + 0.6
    assert laplacian_weight(0.2, config) == pytest.approx(weight, rel=2e-3)
    assert [rate_factor(p, config) for p in (0, 0.5, 1)] == pytest.approx([1, 10**-0.5, 0.1])


def test_the_target_of_dream_fields() -> None:
    config = Config.for_method("dream-fields").dream_fields
    targets = [opacity_target(step / 10000, config) for step in (0, 250, 500, 10000)]
    assert targets == pytest.approx([0.5, 0.05**0.5, 0.1, 0.1])


def test_the_transmittance_counts_for_the_cameras_of_the_paper(guide: ClipGuide) -> None:
    """The target is 1.2 times as large: the focal length is, and what it is divided by."""
    trainer = build_trainer(TINY_FIELD, guide, "a ball", 0, CPU)
    step = trainer.begin_step()
    rendering, _ = trainer.forward(step)
    value = trainer.losses["transmittance"].value(rendering, step.inputs)
    opacity = float(rendering.opacity.detach().mean())
    assert opacity < 0.6
    assert float(value.detach()) == pytest.approx(-(1 - 0.5 * 1.2), rel=1e-4)
    assert step.inputs.loss_weights.tolist() == [0.5]


def test_inputs_of_clip_mesh(guide: ClipGuide) -> None:
    config = TINY_MESH.replace(camera={"views": 50}, train={"steps": 20})
    trainer = build_trainer(config, guide, "a ball", 0, CPU)
    assert isinstance(trainer, ClipMeshTrainer)
    first = trainer._inputs.at(0)
    assert first.lighting.textureless.tolist() == [0.0] * 25 + [1.0] * 25
    assert first.lighting.lit and first.lighting.diffuse.tolist() == pytest.approx([0.7] * 50)
    # The object is shifted along x and z, which moves cameras and lights the other way.
    straight = trainer.config.replace(clip_mesh={"offset": 0.0})
    other = build_trainer(straight, guide, "a ball", 0, CPU)._inputs.at(0)
    first = trainer._inputs.at(0)
    shift = other.cameras.origin - first.cameras.origin
    assert float(shift[:, 1].abs().max()) == 0.0
    assert 0.8 < float(shift[:, ::2].abs().max()) <= 1.0
    torch.testing.assert_close(other.lighting.light_position - first.lighting.light_position, shift)
    elevation = other.cameras.elevation
    assert float(elevation.min()) >= 0.0 and 8.0 < float(elevation.mean()) < 22.0  # 15 is expected
    late = trainer._inputs.at(10)
    assert float(late.lighting.textureless.max()) == 0.0
    assert float(trainer._inputs.at(10).rate_factor) == pytest.approx(10**-0.5)


def test_the_laplacian_smooths_a_mesh_without_images(guide: ClipGuide) -> None:
    config = TINY_MESH.replace(train={"steps": 30}, clip_mesh={"laplacian": [3000.0, 3000.0]})
    trainer = build_trainer(config, guide, "a ball", 0, CPU)
    with torch.no_grad():
        noise = torch.randn(trainer.scene.control.shape, generator=torch.Generator().manual_seed(0))
        trainer.scene.control.add_(0.05 * noise)
    before = float(trainer.scene.laplacian().detach())
    for _ in range(30):
        metrics = trainer.train_step()
    assert float(metrics["laplacian"]) < 0.5 * before


def test_maps_stay_within_their_ranges(guide: ClipGuide) -> None:
    config = TINY_MESH.replace(clip_mesh={"lr_maps": 5.0}, train={"steps": 3})
    trainer = build_trainer(config, guide, "a ball", 0, CPU)
    for _ in range(2):
        trainer.train_step()
    texture, normal = trainer.scene.texture.detach(), trainer.scene.normal_map.detach()
    assert float(texture.min()) >= 0.0 and float(texture.max()) <= 1.0
    assert float(normal[..., 2].min()) >= 0.2 and float(normal.abs().max()) <= 1.0


@pytest.mark.parametrize("config", [TINY_MESH, TINY_FIELD])
def test_a_learned_background_is_refused(config: Config, guide: ClipGuide) -> None:
    with pytest.raises(ConfigError, match=r"'background\.kind': expected random or solid"):
        build_trainer(config.replace(background={"kind": "mlp"}), guide, "a ball", 0, CPU)
