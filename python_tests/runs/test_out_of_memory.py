"""What is said when memory runs out, and what is suggested."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from oracle import OraclePrior

from dfast.config import Config
from dfast.errors import OutOfMemoryError
from dfast.priors import load_prior
from dfast.runs.out_of_memory import memory_suggestions
from dfast.runs.train import train

pytestmark = pytest.mark.usefixtures("needs_native")

CPU = torch.device("cpu")
TINY = Config().replace(
    field={"grid": {"levels": 3, "log2_entries": 10, "max_resolution": 32}, "hidden": 8},
    occupancy={"resolution": 16},
    march={"step_size": 0.1},
    camera={"views": 2, "resolution": [[0.0, 12]]},
    train={"steps": 6, "checkpoint_every": 2, "preview_every": 0},
)


class Greedy(OraclePrior):
    """Runs out of memory at its fourth prediction."""

    predictions = 0

    def predict_noise(self, *args: Any, **options: Any) -> torch.Tensor:
        self.predictions += 1
        if self.predictions == 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0")
        return super().predict_noise(*args, **options)


def test_out_of_memory_says_what_to_change_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(OutOfMemoryError) as caught:
        train("x", prior=Greedy(12), out=tmp_path, config=TINY, device="cpu", progress=False)
    message = str(caught.value)
    assert "2.50 GiB more" in message and "camera.views, now 2" in message
    assert "\n" not in message and "prior.vae_tiling" not in message  # it has no VAE
    assert (tmp_path / "checkpoint.safetensors").exists()
    options: dict[str, Any] = {"out": tmp_path, "config": TINY, "device": "cpu", "progress": False}
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
    """No file is called damaged, and streaming weights from the host is not suggested."""
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
    named = "4000000000 bytes" in str(caught.value)
    assert named == isinstance(error, RuntimeError)


def test_other_errors_pass_as_they_are() -> None:
    class Broken(OraclePrior):
        def load(self) -> None:
            raise RuntimeError("mat1 and mat2")

    with pytest.raises(RuntimeError, match=r"^mat1 and mat2$"):
        train("x", prior=Broken(12), config=TINY, device="cpu", progress=False)


def test_suggestions_come_in_order_and_only_where_they_apply() -> None:
    prior = load_prior(str(tiny_models.folder("sd15")), CPU)
    named = " ".join(memory_suggestions(TINY, prior))
    order = ["camera.views", "vae_checkpointing", "vae_tiling", "attention_slicing", "offload"]
    order += ["linear_until", "smaller model"]
    places = [named.index(word) for word in order]
    assert places == sorted(places)
    changed = TINY.replace(camera={"views": 1}, prior={"vae_tiling": True, "offload": "model"})
    prior = load_prior(str(tiny_models.folder("sd15")), CPU, options=changed.prior)
    named = " ".join(memory_suggestions(changed, prior))
    assert "views" not in named and "vae_tiling" not in named and "offload" not in named
    assert memory_suggestions(TINY.replace(camera={"views": 1}), OraclePrior()) == []
