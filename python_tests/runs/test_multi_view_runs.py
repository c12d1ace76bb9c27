"""Runs under priors that predict several views of an object together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from oracle import OraclePrior, cosine_schedule, ellipsoid
from tiny_multi_view import folder
from tiny_runs import TINY, train_tiny
from torch import Tensor

from dfast.config import Config
from dfast.errors import ConfigError, PriorError
from dfast.priors import load_prior
from dfast.priors.base import Prior
from dfast.runs.estimate import estimate
from dfast.runs.events import Event
from dfast.scene.cameras import CameraBatch
from dfast.scene.tree import map_tensors

RING: dict[str, Any] = {"camera": {"views": 4, "ring": 4}}
MVDREAM = Config.for_prior("mvdream").replace(
    field=TINY.to_dict()["field"],
    occupancy={"resolution": 16},
    march={"step_size": 0.1},
    camera={"resolution": [[0.0, 12]]},
    train={"steps": 4, "log_every": 2, "preview_every": 0, "checkpoint_every": 2},
)


class JointPrior:
    """An object with the protocol that sees rings of three views, and what it was shown."""

    name = "joint"
    image_size = 12
    joint_views = 3
    joins_prompts = True

    def __init__(self) -> None:
        self.cameras: list[CameraBatch] = []
        self.t: list[Tensor] = []

    def noise_schedule(self, device: torch.device) -> tuple[Tensor, Tensor]:
        alpha, sigma = cosine_schedule()
        return alpha.to(device), sigma.to(device)

    def encode_prompt(self, prompt: str, **_: Any) -> str:
        return prompt

    def join_prompts(self, embeddings: Sequence[str]) -> str:
        return embeddings[0]

    def predict_noise(
        self,
        noisy: Tensor,
        t: Tensor,
        condition: str,
        *,
        cameras: CameraBatch,
        conditions: tuple[str, ...] = ("text",),
        **_: Any,
    ) -> Tensor:
        self.cameras.append(map_tensors(torch.clone, cameras))  # the next step is put in its place
        self.t.append(t.clone())
        picture = 2.0 * ellipsoid(cameras, 12, 1) - 1.0
        alpha, sigma = (v[t].view(-1, 1, 1, 1) for v in cosine_schedule())
        return ((noisy - alpha * picture) / sigma).expand(len(conditions), *noisy.shape)


def test_an_object_of_ones_own_is_shown_whole_rings() -> None:
    prior: Any = JointPrior()
    train_tiny(prior=prior, config=TINY.replace(camera={"views": 6, "ring": 3}))
    assert len(prior.t) == 4
    for cameras, t in zip(prior.cameras, prior.t, strict=True):
        assert len(cameras) == 6
        for values in (cameras.elevation, cameras.distance, cameras.fov, t.float()):
            first, *others = values.view(2, 3).unbind(1)
            assert all(torch.allclose(first, other, atol=1e-4) for other in others)
        gaps = cameras.azimuth.view(2, 3).diff(dim=1) % 360.0
        assert torch.allclose(gaps, torch.full((2, 2), 120.0), atol=1e-3)
    assert len({int(t[0]) for t in prior.t} | {int(t[3]) for t in prior.t}) > 2


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        (
            {},
            r"'camera.ring': expected 3 with the prior 'joint', which predicts 3 views of an obje",
        ),
        ({"views": 4, "ring": 2}, r"'camera.ring': expected 3 with the prior 'joint'.*, got 2"),
        ({"ring": 3}, r"'camera.views': expected a multiple of camera.ring, which is 3, got 4"),
        ({"views": 3, "ring": 3, "up_jitter": 0.1}, r"'camera.up_jitter': expected 0 with a came"),
    ],
)
def test_cameras_that_do_not_stand_as_it_needs(
    camera: dict[str, Any], message: str, tmp_path: Path
) -> None:
    prior: Any = JointPrior()
    with pytest.raises(ConfigError, match=message) as caught:
        train_tiny(prior=prior, config={**TINY.to_dict(), "camera": camera}, out=tmp_path / "run")
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize("views", [0, -3, 3.0, "3", True, None])
def test_a_number_of_views_that_cannot_be_is_named(views: object, tmp_path: Path) -> None:
    prior: Any = JointPrior()
    prior.joint_views = views
    with pytest.raises(PriorError) as caught:
        train_tiny(prior=prior, config=TINY.replace(**RING), out=tmp_path / "run")
    said = f"prior 'joint': expected joint_views of 1 or more, got {views!r}"
    assert str(caught.value) == said and not (tmp_path / "run").exists()


def test_a_prior_of_single_views_may_have_rings() -> None:
    assert train_tiny(prior=OraclePrior(12), config=TINY.replace(**RING)).steps == 4


def _stop(event: Event) -> None:
    if event.step == 2:
        event.stop()


def test_mvdream_trains_and_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    def run(name: str, **options: Any) -> dict[str, Tensor]:
        result = train_tiny(
            "a red chair", prior=str(folder()), config=MVDREAM, out=tmp_path / name, **options
        )
        return {k: v.clone() for k, v in result.scene.state_dict().items()}

    whole = run("whole")
    run("parts", callbacks=[_stop])
    parts = run("parts", resume=True)
    assert all(torch.equal(parts[name], whole[name]) for name in whole)
    start = run("start", callbacks=[lambda event: event.stop()])
    assert not torch.equal(start["field.table"], whole["field.table"])


def test_mvdream_brings_its_settings() -> None:
    result = train_tiny(
        "a red chair", prior=load_prior(str(folder()), "cpu"), steps=1,
        config={
            "field": TINY.to_dict()["field"], "occupancy": {"resolution": 16},
            "camera": {"resolution": [[0.0, 12]]}, "march": {"step_size": 0.1},
        },
    )  # fmt: skip
    camera, guidance = result.config.camera, result.config.guidance
    assert (camera.views, camera.ring) == (4, 4)
    assert (guidance.scale, guidance.weighting, guidance.rescale) == (49.0, "x0", 0.5)


@pytest.mark.parametrize("variant", ["vsd", "ism", "rfds_rev", "csd"])
def test_variants_of_guidance_take_groups(variant: str) -> None:
    rescale = 0.0 if variant == "csd" else 0.5
    config = MVDREAM.replace(guidance={"variant": variant, "rescale": rescale}, train={"steps": 2})
    assert train_tiny("a red chair", prior=str(folder()), config=config).steps == 2


def test_views_that_it_cannot_have_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    for changes, error, message in (
        ({"camera": {"views": 6}}, ConfigError, "expected a multiple of camera.ring, which is 4"),
        ({"camera": {"ring": 2}}, ConfigError, "'camera.ring': expected 4 with the prior"),
        ({"guidance": {"view_conditioning": "none"}}, PriorError, "since it is told the cameras"),
    ):
        with pytest.raises(error, match=message):
            train_tiny(
                "a red chair", prior=str(folder()), out=tmp_path / "run",
                config={**MVDREAM.to_dict(), **{k: {**MVDREAM.to_dict()[k], **v}
                                                for k, v in changes.items()}},
            )  # fmt: skip
        assert not (tmp_path / "run").exists()


def test_the_best_of_two_is_judged_by_whole_rings() -> None:
    prior: Any = JointPrior()
    config = TINY.replace(camera={"views": 3, "ring": 3}, train={"steps": 3})
    train_tiny(prior=prior, config=config, best_of=2)
    judged = [cameras for cameras in prior.cameras if len(cameras) == 9]
    assert judged
    gaps = judged[0].azimuth.view(3, 3).diff(dim=1) % 360.0
    assert torch.allclose(gaps, torch.full((3, 2), 120.0), atol=1e-3)


def test_an_estimate_knows_groups() -> None:
    prior: Prior = load_prior(str(folder()), "cpu")
    found = estimate("a red chair", prior=prior, device="cpu", config=MVDREAM)
    assert math.isfinite(found.seconds_per_step) and found.flops["unet"] > 0
