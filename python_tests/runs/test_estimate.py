"""What a run would take, estimated without weights."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch

import dfast
from dfast.config import Config, PriorConfig
from dfast.errors import ConfigError, PriorError, PromptError
from dfast.priors import load_prior
from dfast.priors.loading.catalog import CATALOG
from dfast.priors.loading.folder import Folder
from dfast.priors.loading.weights import size_of
from dfast.priors.pipelines.open import open_folder
from dfast.runs.estimate import Estimate, estimate
from dfast.runs.measurements import text_on_device
from dfast.runs.plan import Round
from dfast.runs.scaled_down import scaled_down
from dfast.runs.step_cost import OVERHEAD_BYTES
from dfast.runs.unfetched import entry_to_fetch
from dfast.testing.model_sizes import FAMILIES, PARAMETERS, TEXT_BYTES, networks
from dfast.testing.outlines import text_bytes, write_outline
from dfast.testing.transformer_sizes import PUBLISHED

pytestmark = pytest.mark.usefixtures("needs_native")

CPU = torch.device("cpu")
TINY = Config().replace(
    field={"grid": {"levels": 3, "log2_entries": 10, "max_resolution": 32}, "hidden": 8},
    occupancy={"resolution": 16},
    march={"step_size": 0.1},
    camera={"views": 2, "resolution": [[0.0, 12]]},
    train={"steps": 6, "checkpoint_every": 2, "preview_every": 0},
)


@pytest.mark.parametrize("family", ["sd15", "sdxl", "if-m"])
def test_weights_are_exact_and_none_are_read(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(tiny_models.folder(family))
    loaded: Any = load_prior(folder, CPU)
    loaded.load()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("weights were read")

    for module in ("base", "vae"):
        monkeypatch.setattr(f"dfast.priors.pipelines.{module}.load_weights", refuse)
    found = estimate(prior=folder, config=TINY, device="cpu")
    assert found.weights["unet"] == size_of(loaded.unet)
    if family != "if-m":
        assert found.weights["vae"] == size_of(loaded.latents.vae)
        assert found.working["vae working set"] > 0 and found.flops["vae"] > 0
    assert found.reading == loaded.text_bytes() > 0
    assert found.steps == 6 and found.seconds_per_step > 0
    assert found.peak > sum(found.weights.values()) + sum(found.working.values())


def test_what_changes_the_estimate() -> None:
    def ask(**changes: Any) -> Estimate:
        return estimate(
            prior=str(tiny_models.folder("sd15")), config=TINY.replace(**changes), device="cpu"
        )

    plain, checkpointed = ask(), ask(prior={"vae_checkpointing": True})
    name = "vae working set"
    assert checkpointed.working[name] < plain.working[name]
    assert checkpointed.flops["vae"] > plain.flops["vae"]
    one = ask(camera={"views": 1})
    assert one.flops["unet"] == pytest.approx(plain.flops["unet"] / 2)
    against = ask(guidance={"perp_neg": True})
    assert against.flops["unet"] == pytest.approx(2 * plain.flops["unet"])
    assert ask(guidance={"linear_until": 0.75}).flops["vae"] == plain.flops["vae"] / 4
    inverted = ask(guidance={"variant": "ism", "inversion_steps": 3})
    assert inverted.flops["inversion"] == pytest.approx(2 * plain.flops["unet"])
    assert ask(prior={"offload": "model"}).weights["unet"] < plain.weights["unet"]


@pytest.mark.parametrize("family", ["sd15", "sd3"])
def test_a_copy_of_the_prior_is_trained(family: str) -> None:
    folder = tiny_models.folder(family)
    found = estimate(
        prior=str(folder), config=TINY.replace(guidance={"variant": "vsd"}), device="cpu"
    )
    # It sees half as many images, since there is one condition, and keeps what the way back needs.
    assert 2 * found.working["copy working set"] > 1.5 * found.working["unet working set"]
    assert found.flops["copy"] == pytest.approx(2 * found.flops["unet"])


@pytest.mark.parametrize(
    ("rank", "said"), [("0", "estimate for shapes on cpu, one of 2 processes"), ("1", "")]
)
def test_the_first_process_of_torchrun_tells(
    rank: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    from dfast.cli.main import main

    TINY.save(tmp_path / "c.toml")
    for name, value in {
        "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    line = ["train", "a red ball", "--dry-run", "--device", "cpu"]
    assert main([*line, "--config", str(tmp_path / "c.toml")]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(said) and bool(printed) is bool(said)


@pytest.mark.parametrize(
    ("setting", "kind", "free", "expected"),
    [
        ("auto", "cuda", 20, 10),
        ("auto", "cuda", 11, 0),
        ("device", "cuda", 11, 10),
        ("cpu", "cuda", 20, 0),
        ("8bit", "cuda", 11, 5),
        ("cpu", "cpu", None, 10),
    ],
)
def test_text_encoders_count_where_they_run(
    setting: str, kind: str, free: int | None, expected: int
) -> None:
    assert text_on_device(10, setting, kind, free) == expected


def test_the_embedded_prior_is_timed() -> None:
    found = estimate("a red chair", config=TINY, device="cpu", steps=3)
    assert found.steps == 3 and found.weights["unet"] > 1e6 and not found.flops
    assert 0 < found.seconds_per_step < 60


def test_the_text_says_what_it_is_and_warns() -> None:
    found = Estimate(
        "sd15",
        "cpu",
        {"unet": 3 << 30},
        {"rendering": 1 << 20},
        0,
        5 << 20,
        {"unet": 1.5e12},
        0.0125,
        10000,
        1 << 30,
        ("lower camera.views, now 4",),
    )
    text = str(found)
    assert text.startswith("estimate for sd15 on cpu; a run may differ")
    assert "3.00 GiB" in text and "1.50 TFLOP" in text and "12.5 ms" in text
    assert "2 min 5 s" in text and "lower camera.views, now 4" in text and "1.00 GiB are" in text


@pytest.mark.parametrize(
    ("weights", "rendering", "networks", "taken"),
    [
        ({"unet": 1719064976, "vae": 68327328}, 352662992, (136623376, 1146290875), 6462177280),
        ({"unet": 743232408}, 218340816, (48743184,), 3006070784),
    ],
)
def test_memory_of_runs_on_a_gpu(
    weights: dict[str, int], rendering: int, networks: tuple[int, ...], taken: int
) -> None:
    """Runs with Stable Diffusion 1.5 and IF-I-M took so much of an H200 (2026-11-29)."""
    working = dict(zip(("rendering", "unet", "vae"), (rendering, *networks), strict=False))
    found = Estimate(
        "x", "cuda", weights, working, 0, 449626004, {}, 0.01, 300, 2**37, (),
        libraries=int(OVERHEAD_BYTES["cuda"]), spare=sum(working.values()), starting=2.0,
    )  # fmt: skip
    assert found.peak == pytest.approx(taken, rel=0.15)
    assert found.needed < found.peak and "where less is free" in str(found)
    assert found.seconds == pytest.approx(5.0) and "first steps" in str(found)
    rounds = (Round(4, 100, 0.02, 1.0), Round(1, 200, 0.01, 0.5))
    assert replace(found, rounds=rounds).seconds == pytest.approx(5.5)
    assert "warning" in str(replace(found, free=found.needed - 1))
    assert "warning" not in str(replace(found, free=found.needed))


def test_dry_run_prints_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from dfast.cli.main import main

    (tmp_path / "c.toml").write_text(TINY.dumps())
    line = ["train", "a red chair", "--dry-run", "--device", "cpu", "--config"]
    out = tmp_path / "run"
    assert main([*line, str(tmp_path / "c.toml"), "--out", str(out), "--steps", "5"]) == 0
    text = capsys.readouterr().out
    assert "estimate for shapes" in text and "5 steps" in text and not out.exists()
    with pytest.raises(PriorError, match="expected 'shapes'"):
        dfast.estimate(prior="nothing")


@pytest.mark.parametrize(
    ("more", "says", "files"),
    [
        (["--best-of", "3"], "the best of 3 seeds", 1),
        (["--particles", "3"], "3 objects, 3 side by side", 3),
        (["--particles", "3", "--fit"], "fit: 3 of 3 side by side", 3),
    ],
)
def test_dry_runs_of_one_prompt(
    more: list[str], says: str, files: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from dfast.cli.main import main

    (tmp_path / "c.toml").write_text(TINY.dumps())
    line = ["train", "a red chair", "--dry-run", "--no-export", "--device", "cpu"]
    assert main([*line, "--config", str(tmp_path / "c.toml"), "--out", "x", *more]) == 0
    said = capsys.readouterr().out
    alone = estimate("a red chair", config=TINY, device="cpu")
    assert says in said and f"{files * alone.disk / 2**20:.1f} MiB" in said


def test_the_disk_space_is_that_of_a_run(tmp_path: Path) -> None:
    plain = TINY.replace(train={"preview_every": 3, "log_every": 1, "steps": 9})
    result = dfast.train("a red ball", config=plain, device="cpu", out=tmp_path, progress=False)
    assert result.folder is not None
    found = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    estimated = estimate("a red ball", config=plain, device="cpu").disk
    previews = sum(file.stat().st_size for file in tmp_path.rglob("*.png"))
    assert estimated - 3 * 3.8e4 == pytest.approx(found - previews, rel=0.1)
    assert len(list(tmp_path.rglob("*.png"))) == 3


def test_processes_share_the_views() -> None:
    alone = estimate(prior=str(tiny_models.folder("sd15")), config=TINY, device="cpu")
    shared = estimate(prior=str(tiny_models.folder("sd15")), config=TINY, device="cpu", ranks=2)
    assert shared.flops["unet"] == alone.flops["unet"] / 2 and shared.state == alone.state
    assert "one of 2 processes" in str(shared) and shared.peak > alone.peak
    with pytest.raises(ConfigError, match="expected a multiple of 3"):
        estimate(config=TINY, device="cpu", ranks=3)


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        (["a red ball"], {"best_of": 2}, "best_of: expected 1 with several objects"),
        (["a red ball"], {"particles": 2}, "particles: expected one prompt, got a list"),
        (["a red ball"], {"ranks": 2}, "ranks: expected 1, or more with one object"),
        (["a red ball"], {"at_once": 0}, "at_once: expected a whole number of at least 1 or 'fit'"),
        (["a red ball"], {"at_once": "all"}, "at_once: expected a whole number of at least 1 or"),
        ("a red ball", {"at_once": 2}, "at_once: expected None with one prompt"),
        ([], {}, "expected a description or a list of them, got an empty list"),
    ],
)
def test_lists_are_checked_as_in_training(prompt: Any, options: Any, message: str) -> None:
    with pytest.raises((ConfigError, PromptError), match=message):
        estimate(prompt, config=TINY, device="cpu", **options)


@pytest.mark.parametrize("family", ["sd15", "sdxl", "if-m"])
def test_what_training_would_refuse_is_refused(family: str) -> None:
    folder, long = str(tiny_models.folder(family)), "word " * 95
    with pytest.raises(PromptError, match="expected at most 77 tokens"):
        estimate(long, prior=folder, config=TINY, device="cpu")
    negative = TINY.replace(guidance={"negative": long})
    with pytest.raises(PromptError, match="prompt or negative: expected at most 77 tokens"):
        estimate(prior=folder, config=negative, device="cpu")
    rounded = TINY.replace(prior={"text_encoder": "8bit"})
    with pytest.raises(PriorError, match="'8bit' expects a CUDA device"):
        estimate(prior=folder, config=rounded, device="cpu")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"prompt": " "}, PromptError, "prompt: expected a description"),
        ({"config": 5}, ConfigError, "config: expected a dfast.Config, a dict of settings or None"),
        ({"config": {"scale": 5}}, ConfigError, "did you mean 'guidance.scale'"),
        ({"config": {"train": {"steps": 2}, 3: 4}}, ConfigError, "expected settings by name"),
        ({"steps": 0}, ConfigError, "steps: expected a whole number >= 1, got 0"),
        ({"steps": 2.5}, ConfigError, "steps: expected a whole number >= 1, got 2.5"),
        ({"prior": 5}, PriorError, "prior: expected the name of one or an object"),
    ],
)
def test_arguments_are_checked_as_in_training(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        estimate(**{"prior": str(tiny_models.folder("sd15")), "device": "cpu"} | options)


def test_networks_that_do_not_fit_together_are_named(tmp_path: Path) -> None:
    path = tiny_models.copied("sdxl", tmp_path)
    unet = path / "unet" / "config.json"
    unet.write_text(json.dumps(json.loads(unet.read_text()) | {"addition_time_embed_dim": None}))
    with pytest.raises(PriorError) as caught:
        estimate(prior=str(path), config=TINY, device="cpu")
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_huge_run_is_estimated_without_its_memory() -> None:
    huge = TINY.replace(
        camera={"views": 256, "resolution": [[0.0, 4096]]},
        field={"grid": {"log2_entries": 24, "levels": 32, "features": 8, "max_resolution": 65536}},
        march={"step_size": 1e-4},
    )
    small = scaled_down(huge, "cpu")
    assert small.config.camera.views * small.config.camera.resolution[0][1] ** 2 <= 1 << 14
    assert small.rays * small.config.camera.resolution[0][1] ** 2 >= 4096**2
    assert small.numbers > 1 << 30 and scaled_down(TINY, "cpu") == (TINY, 1.0, 0)
    huge = huge.replace(camera={"views": 64}, march={"step_size": 0.5}, train={"steps": 1})
    found = estimate(prior=str(tiny_models.folder("sd15")), config=huge, device="cpu")
    assert found.state > 12 << 30 and found.peak > found.state and found.seconds_per_step > 1


@pytest.mark.parametrize("name", ["if-m", "DeepFloyd/IF-I-M-v1.0"])
def test_a_model_of_the_catalogue_need_not_be_here(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("dfast.runs.unfetched.is_complete", lambda hub: False)
    monkeypatch.setattr("dfast.testing.outlines.networks", lambda name: networks(name, "tiny"))
    found = estimate("a corgi", prior=name, config=TINY.to_dict(), device="cpu", steps=3)
    assert found.prior == "if-m" and found.steps == 3 and found.weights["unet"] > 0
    assert found.reading == TEXT_BYTES["if-m"] > 9e9
    assert "if-m is not on this machine" in str(found) and "10.3 GB" in str(found)
    with pytest.raises(PriorError, match="no such folder"):
        estimate(prior="some/other", device="cpu")


@pytest.mark.parametrize("family", FAMILIES)
def test_an_outline_has_the_published_size(family: str, tmp_path: Path) -> None:
    folder = Folder(write_outline(family, tmp_path), family)
    prior = open_folder(folder, CPU, PriorConfig())
    built = sum(p.numel() for p in prior._build_unet().parameters())
    assert built == PARAMETERS[family] and prior.cost_parts().keys() <= {"unet", "vae"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_transformers_have_the_bytes_of_their_files(name: str, tmp_path: Path) -> None:
    write_outline(name, tmp_path)
    stored = {"pixart-sigma": 4, "wan-1.3b": 4}.get(name, 2)  # bytes of a number
    numbers = (text_bytes(name) or 0) // 2
    for part, options in (("transformer", PUBLISHED[name].transformer), ("vae", {})):
        config = json.loads((tmp_path / part / "config.json").read_text())
        assert {key: config[key] for key in options} == json.loads(json.dumps(options))
        with torch.device("meta"):
            network = getattr(import_module("diffusers"), config["_class_name"]).from_config(config)
        numbers += sum(t.numel() for t in [*network.parameters(), *network.buffers()])
    assert numbers * stored / 1e9 == pytest.approx(CATALOG[name].gigabytes, rel=0.04)
    assert entry_to_fetch(name) is CATALOG[name]


def test_a_published_transformer_need_not_be_here() -> None:
    one = TINY.replace(camera={"views": 1})
    found = estimate("a corgi", prior="sana-600m", config=one, device="cpu", steps=3)
    assert found.weights["unet"] == 4 * 591_747_872 and found.reading == 2 * 2_614_341_888
    assert found.flops["unet"] > 1e11 and "sana-600m is not on this machine" in found.note


def test_what_takes_weights_to_know_is_one_line() -> None:
    with pytest.raises(PriorError, match=r"depends on values; .* 6\.15 G parameters") as caught:
        estimate("a corgi", prior="z-image", config=TINY, device="cpu")
    assert "\n" not in str(caught.value)


def test_an_export_needs_more_memory_than_small_steps() -> None:
    without = estimate("a red chair", device="cpu", config=TINY)
    found = estimate("a red chair", device="cpu", config=TINY, export=True)
    assert found.exporting > 2**27 and found.peak > without.peak
    assert "export, after the steps" in str(found) and "export" not in str(without)
