"""Runs whose field is DreamFusion's: every part of a run, and the same bytes after a stop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import TINY, train_tiny

from dfast.config import Config
from dfast.errors import ConfigError
from dfast.runs.events import Event
from dfast.runs.result import Result
from dfast.runs.unfinished import PREVIEWS, RESULT

pytestmark = pytest.mark.usefixtures("needs_native")

IPE = TINY.replace(
    field={
        "kind": "ipe",
        "ipe": {"frequencies": 3, "width": 8, "blocks": 1, "directions": "axes"},
        "density_activation": "exp",
        "blob": "gaussian",
        "blob_height": 40.0,
        "blob_width": 0.2,
        "blob_on": "density",
        "density_bias": -6.0,
    },
    shading={"ambient_only": 0.0},
    camera={"fov_mode": "focal"},
    light={"around": "position"},
    coarse_to_fine={"lowpass_std": [0.2, 0.05], "lowpass_linear_in": "variance"},
)


def test_same_bytes_after_a_stop(tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if event.step == 3:
            event.stop()

    config = IPE.replace(train={"preview_every": 0})
    train_tiny(config=config, out=tmp_path / "whole")
    assert train_tiny(config=config, out=tmp_path / "stopped", callbacks=[stop]).steps == 3
    train_tiny(config=config, out=tmp_path / "stopped", resume=True)
    whole, resumed = ((tmp_path / name / RESULT).read_bytes() for name in ("whole", "stopped"))
    assert whole == resumed


def test_every_part_of_a_run(tmp_path: Path) -> None:
    config = IPE.replace(train={"preview_every": 4})
    result = train_tiny(config=config, out=tmp_path / "run")
    assert sorted(result.scene.object_state()) == [
        "field.mlp",
        "occupancy.bits",
        "occupancy.density",
    ]
    assert list((tmp_path / "run" / PREVIEWS).iterdir())
    loaded = Result.load(tmp_path / "run")
    assert loaded.config == config
    points = torch.rand(20, 3) - 0.5
    assert torch.equal(loaded.density(points), result.density(points))
    for shading in ("studio", "albedo", "normal"):
        image = loaded.render(resolution=16, shading=shading)
        assert np.array_equal(image, result.render(resolution=16, shading=shading))
        assert image.std() > 0
    mesh = loaded.mesh(tmp_path / "object.glb", faces=500)
    assert len(mesh.faces) > 0 and (tmp_path / "object.glb").stat().st_size > 0


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"kind": "nerf"}, "config key 'field.kind': expected"),
        ({"blob_on": "density"}, "config key 'field.blob_on': expected 'logit', unless"),
        ({"kind": "ipe", "precision": "half"}, "config key 'field.precision': expected 'auto'"),
        ({"kind": "ipe", "ipe": {"width": 1}}, "config key 'field.ipe.width': expected"),
    ],
)
def test_bad_settings_are_named(field: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config().replace(field=field)
    assert str(caught.value).startswith(message)
