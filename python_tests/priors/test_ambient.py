"""Priors in a host program that has set torch to other devices, types and modes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import CPU, folder, image_gradient, noise_like

from dfast.ops.ambient import neutral_torch_state
from dfast.priors import load_prior


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


HABITS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "double": lambda: default_dtype(torch.float64),
    "half": lambda: default_dtype(torch.float16),
    "meta": lambda: default_device("meta"),
    "a device that is not there": lambda: default_device("cuda:99"),
    "on meta": lambda: torch.device("meta"),
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
}
TOGETHER = ("autocast", "double", "meta", "inference")
CASES = [
    *(("sd15", (habit,)) for habit in HABITS),
    *((name, habits) for name in ("sdxl", "if-m", "shapes") for habits in (TOGETHER, ("half",))),
]


@contextmanager
def surrounded(habits: tuple[str, ...]) -> Iterator[None]:
    with ExitStack() as stack:
        for habit in habits:
            stack.enter_context(HABITS[habit]())
        yield


def answers(name: str) -> list[torch.Tensor]:
    """Return what a prior answers, all of it made inside the caller's surroundings."""
    prior: Any = load_prior(name if name == "shapes" else str(folder(name)), CPU)
    alpha, sigma = prior.noise_schedule(CPU)
    condition = prior.encode_prompt("a red chair", views="none")
    textureless = torch.zeros(2, dtype=torch.bool, device=CPU)
    size, channels = prior.latent_size, 4 if prior.is_latent else 3
    if name != "shapes":
        size, channels = prior.unet_config["sample_size"], prior.unet_config["in_channels"]
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(
        2, channels, size, size, generator=generator, device=CPU, dtype=torch.float32
    )
    t = torch.tensor([1, 500], device=CPU)
    predicted = prior.predict_noise(noisy, t, condition, cameras=None, textureless=textureless)
    found = [alpha, sigma, predicted]
    if prior.is_latent:
        found += [prior.encode_images(noisy[:, :3].repeat(1, 1, 4, 4))]
    return [value.clone() for value in found]


@functools.cache
def expected_of(name: str) -> list[torch.Tensor]:
    return answers(name)


@pytest.mark.parametrize(("name", "habits"), CASES)
def test_the_same_bytes_whatever_torch_is_set_to(
    name: str, habits: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = expected_of(name)
    monkeypatch.setenv("DFAST_CACHE", str(tmp_path / "empty"))
    with surrounded(habits):
        got = answers(name)
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b)


def test_the_linear_map_in_all_of_them_at_once() -> None:
    maps = []
    for habits in ((), TOGETHER):
        prior: Any = load_prior(str(folder("sd15")), CPU)
        with surrounded(habits):
            maps.append(prior.latents.linear_map())
    assert torch.equal(maps[0][0], maps[1][0]) and torch.equal(maps[0][1], maps[1][1])


def test_weights_read_in_inference_mode_pass_gradients() -> None:
    prior: Any = load_prior(str(folder("sd15")), CPU)
    with torch.inference_mode():
        prior.load()
    image, toward = noise_like(prior).repeat(1, 1, 8, 8)[:, :3], noise_like(prior)
    assert image_gradient(prior, image, toward).isfinite().all()


def test_recording_of_gradients_stays_as_it_is() -> None:
    with torch.no_grad(), neutral_torch_state(keep_grad=True):
        assert not torch.is_grad_enabled()
    with torch.inference_mode(), neutral_torch_state(keep_grad=True):
        assert not torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    with torch.inference_mode():
        with neutral_torch_state(keep_grad=True):
            pass
        assert torch.is_inference_mode_enabled()
    with neutral_torch_state(keep_grad=True):
        assert torch.is_grad_enabled()
