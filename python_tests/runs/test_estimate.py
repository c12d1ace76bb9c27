"""What a run would take, told without weights; and what is said when there is no room."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from oracle import OraclePrior

import dfast
from dfast.config import Config
from dfast.errors import ConfigError, OutOfMemoryError, PriorError, PromptError
from dfast.priors import load_prior
from dfast.priors.loading.weights import size_of
from dfast.runs.cost_model import cost
from dfast.runs.estimate import Estimate, estimate
from dfast.runs.measurements import text_on_device
from dfast.runs.out_of_memory import memory_suggestions
from dfast.runs.train import train

pytestmark = pytest.mark.usefixtures("needs_native")

CPU = torch.device("cpu")
TINY = Config().replace(
    field={"grid": {"levels": 3, "log2_entries": 10, "max_resolution": 32}, "hidden": 8},
    occupancy={"resolution": 16}, march={"step_size": 0.1},
    camera={"views": 2, "resolution": [[0.0, 12]]},
    train={"steps": 6, "checkpoint_every": 2, "preview_every": 0},
)  # fmt: skip


def test_cost_of_known_computations() -> None:
    weight = torch.empty(32, 16, device="meta")
    x = torch.empty(8, 32, device="meta")

    def chain() -> None:
        y = x @ weight  # 8 x 16
        for _ in range(5):
            y = y + 1.0  # two alive at once, never six

    found = cost(chain, [weight, x])
    assert found.flops == 2 * 8 * 32 * 16 and found.peak_bytes == 2 * 4 * 8 * 16

    def kept() -> None:
        y = torch.empty(8, 16, device="meta", requires_grad=True)
        (y.exp().exp().exp()).sum().backward()  # each result waits for the way back

    assert cost(kept, []).peak_bytes >= 4 * 4 * 8 * 16


def test_attention_costs_operations_but_no_matrix() -> None:
    length, width = 256, 8
    q = torch.empty(1, 2, length, width, device="meta")
    found = cost(lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q), [q])
    assert found.flops == 2 * (2 * length * length * width) * 2
    assert found.peak_bytes == q.nbytes


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


def test_what_turns_the_estimate() -> None:
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


@pytest.mark.parametrize(
    ("setting", "kind", "free", "expected"),
    [
        ("auto", "cuda", 20, 10), ("auto", "cuda", 11, 0), ("device", "cuda", 11, 10),
        ("cpu", "cuda", 20, 0), ("8bit", "cuda", 11, 5), ("cpu", "cpu", None, 10),
    ],
)  # fmt: skip
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
        "sd15", "cpu", {"unet": 3 << 30}, {"rendering": 1 << 20}, 0, 5 << 20, {"unet": 1.5e12},
        0.0125, 10000, 1 << 30, ("lower camera.views, now 4",),
    )  # fmt: skip
    text = str(found)
    assert text.startswith("estimate for sd15 on cpu; a run may differ")
    assert "3.00 GiB" in text and "1.50 TFLOP" in text and "12.5 ms" in text
    assert "2 min 5 s" in text and "lower camera.views, now 4" in text and "1.00 GiB are" in text


def test_dry_run_prints_and_writes_nothing(tmp_path: Path, capsys) -> None:
    from dfast.cli.main import main

    (tmp_path / "c.toml").write_text(TINY.dumps())
    line = ["train", "a red chair", "--dry-run", "--device", "cpu", "--config"]
    out = tmp_path / "run"
    assert main([*line, str(tmp_path / "c.toml"), "--out", str(out), "--steps", "5"]) == 0
    text = capsys.readouterr().out
    assert "estimate for shapes" in text and "5 steps" in text and not out.exists()
    with pytest.raises(PriorError, match="expected 'shapes'"):
        dfast.estimate(prior="nothing")


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
        ({"config": {}}, ConfigError, "config: expected a dfast.Config or None, got {}"),
        ({"steps": 0}, ConfigError, "steps: expected a whole number >= 1, got 0"),
        ({"steps": 2.5}, ConfigError, "steps: expected a whole number >= 1, got 2.5"),
        ({"prior": 5}, PriorError, "prior: expected the name of one or an object"),
    ],
)
def test_the_door_is_that_of_training(
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


class Greedy(OraclePrior):
    """Wants too much at its fourth answer."""

    answers = 0

    def predict_noise(self, *args: Any, **options: Any) -> torch.Tensor:
        self.answers += 1
        if self.answers == 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0")
        return super().predict_noise(*args, **options)


def test_out_of_memory_says_what_to_turn_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(OutOfMemoryError) as caught:
        train("x", prior=Greedy(12), out=tmp_path, config=TINY, device="cpu", progress=False)
    message = str(caught.value)
    assert "2.50 GiB more" in message and "camera.views, now 2" in message
    assert "\n" not in message and "prior.vae_tiling" not in message  # it has no VAE
    assert (tmp_path / "checkpoint.safetensors").exists()
    options = {"out": tmp_path, "config": TINY, "device": "cpu", "progress": False}
    assert train("x", prior=OraclePrior(12), resume=True, **options).steps == 6


def test_out_of_memory_while_loading() -> None:
    class Large(OraclePrior):
        def load(self) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(OutOfMemoryError, match="asked for more than there is"):
        train("x", prior=Large(12), config=TINY, device="cpu", progress=False)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory: "
            "you tried to allocate 4000000000 bytes. Error code 12 (Cannot allocate memory)"
        ),
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
    ids=["torch", "python", "system"],
)
@pytest.mark.parametrize("where", ["text encoder", "unet"])
def test_out_of_memory_on_the_cpu(
    error: Exception, where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No file is called damaged for it; streaming weights from the host would not help."""
    import safetensors
    import transformers

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setenv("DFAST_CACHE", str(tmp_path))
    prior = load_prior(str(tiny_models.folder("sd15")), CPU)
    if where == "text encoder":
        monkeypatch.setattr(transformers.CLIPTextModel, "from_pretrained", refuse)
    else:
        prior.encode_prompt("x")
        monkeypatch.setattr(safetensors, "safe_open", refuse)
    with pytest.raises(OutOfMemoryError, match="out of memory: cpu was asked for") as caught:
        train("x", prior=prior, config=TINY, device="cpu", progress=False)
    assert "attention_slicing" in str(caught.value) and "offload" not in str(caught.value)
    asked = "4000000000 bytes" in str(caught.value)
    assert asked == isinstance(error, RuntimeError)


def test_other_errors_pass_as_they_are() -> None:
    class Broken(OraclePrior):
        def load(self) -> None:
            raise RuntimeError("mat1 and mat2")

    with pytest.raises(RuntimeError, match=r"^mat1 and mat2$"):
        train("x", prior=Broken(12), config=TINY, device="cpu", progress=False)


def test_knobs_come_in_order_and_only_where_they_are() -> None:
    prior = load_prior(str(tiny_models.folder("sd15")), CPU)
    named = " ".join(memory_suggestions(TINY, prior))
    order = ["camera.views", "vae_checkpointing", "vae_tiling", "attention_slicing", "offload"]
    order += ["linear_until", "smaller model"]
    places = [named.index(word) for word in order]
    assert places == sorted(places)
    turned = TINY.replace(camera={"views": 1}, prior={"vae_tiling": True, "offload": "model"})
    prior = load_prior(str(tiny_models.folder("sd15")), CPU, options=turned.prior)
    named = " ".join(memory_suggestions(turned, prior))
    assert "views" not in named and "vae_tiling" not in named and "offload" not in named
    assert memory_suggestions(TINY.replace(camera={"views": 1}), OraclePrior()) == []
