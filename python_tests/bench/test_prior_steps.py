"""Times of whole steps with diffusion priors: every part is there, and failures are named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch

from dfast.bench import prior_steps, step_parts
from dfast.bench.priors import Options
from dfast.cli.main import main
from dfast.config import Config
from dfast.priors.pipelines.vae import LatentEncoder

pytestmark = pytest.mark.usefixtures("needs_native")

SMALL = [
    "march.step_size=0.1",
    "field.grid.log2_entries=10",
    "field.grid.levels=4",
    "camera.resolution=[[0.0, 8]]",
    "occupancy.resolution=16",
]
CPU = torch.device("cpu")


def quiet(_: str) -> None:
    """Say nothing."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFAST_CACHE", str(tmp_path / "cache"))


def test_the_command_measures_models_of_random_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.json"
    line = ["bench", "--prior", "sd15, if-m", "--random", "--quick", "--steps", "1"]
    sets = [word for change in SMALL for word in ("--set", change)]
    assert main([*line, *sets, "--device", "cpu", "--out", str(out)]) == 0
    latent, pixels = json.loads(out.read_text())
    assert [r["model"] for r in (latent, pixels)] == ["sd15", "if-m"]
    for record in (latent, pixels):
        for key in ("step_ms", "unet_ms", "render_ms", "optimizer_ms", "load_s", "first_step_s"):
            assert record[key] > 0, key
        assert record["unet_batch"] == 2 and record["variant"] == "sds" and record["commit"]
        assert record["ratio"] == pytest.approx(record["step_ms"] / record["unet_ms"], rel=1e-2)
    assert latent["encode_ms"] > 0 and latent["ratio_encode"] < latent["ratio"]
    assert pixels["encode_ms"] == 0 and pixels["ratio_encode"] == pixels["ratio"]
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split()[:3] == ["model", "step_ms", "unet_ms"] and len(rows) == 3


def test_transformers_of_random_weights_are_measured(tmp_path: Path) -> None:
    """The encoder that a step uses is timed, here the distilled one."""
    vae = tiny_models.write_tiny(tmp_path / "tiny", 16)
    out = tmp_path / "x.json"
    line = ["bench", "--prior", "sd35-medium,lumina2", "--random", "--quick", "--steps", "1"]
    sets = [word for change in (*SMALL, f"prior.vae={vae}") for word in ("--set", change)]
    assert main([*line, *sets, "--device", "cpu", "--out", str(out)]) == 0
    for record in json.loads(out.read_text()):
        assert "error" not in record and record["random"]
        assert record["unet_ms"] > 0 and record["encode_ms"] > 0 and record["unet_batch"] == 2


def test_parts_use_the_encoder_of_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vae = tiny_models.write_tiny(tmp_path / "tiny")
    used = set[str]()
    encode = LatentEncoder.encode

    def watched(self: LatentEncoder, images: torch.Tensor) -> torch.Tensor:
        used.add(self.name)
        return encode(self, images)

    monkeypatch.setattr(LatentEncoder, "encode", watched)

    def small(config: Config) -> Config:
        return config.replace(
            camera={"resolution": [[0.0, 8]]}, march={"step_size": 0.1}, prior={"vae": str(vae)}
        )

    prior_steps.run(["sd15"], Options(CPU, small, 1, random=True, tiny=True, say=quiet))
    assert used == {"AutoencoderTiny"}


def test_rendering_is_timed_without_the_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images are encoded as often as one part asks for it, and once for the UNet's arguments."""
    encoded: list[int] = []
    encode = LatentEncoder.encode

    def counted(self: LatentEncoder, images: torch.Tensor) -> torch.Tensor:
        encoded.append(len(images))
        return encode(self, images)

    calls: list[int] = []

    def once(call: Callable[[], object], **_: object) -> float:
        before = len(encoded)
        call()
        calls.append(len(encoded) - before)
        return 1.0

    monkeypatch.setattr(LatentEncoder, "encode", counted)
    monkeypatch.setattr(step_parts, "milliseconds", once)

    def small(config: Config) -> Config:
        return config.replace(camera={"resolution": [[0.0, 8]]}, march={"step_size": 0.1})

    prior_steps.run(["sd15"], Options(CPU, small, 1, random=True, tiny=True, say=quiet))
    assert sorted(calls) == [0, 0, 0, 0, 1]


def test_a_model_that_fails_is_named_and_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, out = tiny_models.copied("sd15", tmp_path), tmp_path / "x.json"
    (broken / "text_encoder" / "model.safetensors").unlink()
    line = ["bench", "--prior", f"{broken},shapes", "--steps", "1", "--device", "cpu"]
    sets = [word for change in (*SMALL, "camera.views=1") for word in ("--set", change)]
    assert main([*line, *sets, "--out", str(out)]) == 1
    failed, other = json.loads(out.read_text())
    assert "incomplete" in failed["error"] and "error" not in other
    text = capsys.readouterr()
    assert len(text.out.splitlines()) == 3 and f"{broken}: PriorError" in text.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prior", "foo", "--random"], "prior: expected 'shapes' or, .* sd15, .*, got 'foo'"),
        (["--prior", ","], "prior: expected 'shapes', .*, got ''"),
        (["--prior", ""], "prior: expected 'shapes', .*, got ''"),
        (["--prior", "shapes,/no/such"], "got '/no/such': no such folder"),
        (["--prior", "shapes", "--set", "prior.foo=1"], "config key 'prior.foo': unknown"),
        (["--prior", "shapes", "--out", "."], "--out: expected a file to write, got the folder"),
        (["--prior", "shapes", "--workloads", "A"], "--workloads: expected no --prior"),
        (["--prior", "shapes", "--profile", "x"], "--profile: expected no --prior"),
        (["--random"], "--random: expected with --prior"),
        (["--steps", "3"], "--steps: expected with --prior"),
        (["--set", "prior.compile=true"], "--set: expected with --prior"),
    ],
)
def test_wrong_options_are_named_before_anything_runs(
    options: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something ran")

    monkeypatch.setattr(prior_steps, "measure", refuse)
    assert main(["bench", "--device", "cpu", "--quick", *options]) == 2
    shown = capsys.readouterr()
    assert re.search(message, shown.err) and shown.err.count("\n") == 1 and not shown.out


def test_the_embedded_prior_is_measured_too() -> None:
    def small(config: Config) -> Config:
        return config.replace(
            camera={"views": 1, "resolution": [[0.0, 8]]}, march={"step_size": 0.1}
        )

    (record,) = prior_steps.run(["shapes"], Options(CPU, small, 1, say=quiet))
    assert record["unet_ms"] > 0 and record["encode_ms"] == 0 and not record["random"]


def test_the_networks_own_arguments_are_timed() -> None:
    """Record the last call: before it, ISM's inversion calls the UNet with smaller batches."""
    network = torch.nn.Linear(2, 2)

    def call() -> None:
        network(torch.zeros(1, 2))
        network(torch.ones(3, 2))

    args, options = step_parts.last_arguments(network, call)
    assert args[0].shape == (3, 2) and not options
    assert not network._forward_pre_hooks


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_cuda")
def test_parts_are_recorded_on_a_gpu() -> None:
    how = Options(torch.device("cuda"), steps=4, random=True, tiny=True, say=quiet)
    records: list[dict[str, Any]] = prior_steps.run(["sd15", "if-m"], how)
    for record in records:
        assert "error" not in record, record
        assert record["captures"] > 0 and record["peak_mib"] > 0


def test_a_wrong_number_of_steps_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--prior", "shapes", "--steps", "0"]) == 2
    assert "--steps: expected a whole number >= 1, got 0" in capsys.readouterr().err
