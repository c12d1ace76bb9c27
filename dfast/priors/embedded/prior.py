"""The embedded prior: a small diffusion model of the procedural world.

It accepts what `dfast.world.read` reads. Its view conditioning is "camera" (camera vector and ray
map), "words" (the view words of DreamFusion in the caption) or "none". Captions are those of
training: without articles, nouns in the singular, and "plain chair" for a textureless image.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from dfast._device import ran_out
from dfast.errors import PriorError, PromptError
from dfast.host.cpus import multiplies_bfloat16
from dfast.ops.ambient import neutral_torch_state
from dfast.priors.base import Condition, Prior
from dfast.priors.diffusion import eps_from_v
from dfast.priors.embedded.model import (
    CAMERA_FEATURES,
    IMAGE_SIZE,
    LARGEST_SCALE,
    camera_features,
    ray_map,
    scale_features,
)
from dfast.priors.embedded.text import TextEncoder, Tokenizer, from_transformers, signal_levels
from dfast.priors.embedded.unet import UNet, from_diffusers
from dfast.priors.loading.weights import size_of
from dfast.scene.cameras import CameraBatch
from dfast.scene.views import VIEW_WORDS, view_index
from dfast.world.reading import read
from dfast.world.sentence import PLAIN, Sentence

WEIGHTS = Path(__file__).parent / "weights"


class ShapesCondition(NamedTuple):
    """The encoded captions of a run."""

    text: Tensor
    """[R, 2, 1 + len(VIEW_WORDS), M, D] of R prompts of M tokens: with colours, then plain; without
    a view, then with each of VIEW_WORDS"""
    empty: Tensor
    """[1, M, D]"""
    views: str
    """the view conditioning, one of "camera", "words", "none"; see `Prior.encode_prompt`"""


class ShapesPrior(Prior):
    """The `Prior` of the procedural world."""

    name = "shapes"
    image_size = IMAGE_SIZE
    cuda_graph_safe = True
    joins_prompts = True
    untrainable = ""
    image_flops = 3.65e9
    conditions: tuple[Condition, ...] = ("text", "null")

    @neutral_torch_state(keep_grad=True)
    def __init__(
        self, device: torch.device, folder: Path = WEIGHTS, *, dtype: torch.dtype | None = None
    ) -> None:
        """Load the networks.

        Args:
            device: where the UNet runs; the text encoder runs on the CPU.
            folder: a pipeline folder that `model.save_folder` wrote.
            dtype: arithmetic of the UNet; None takes the fastest, float16 on a GPU and on a CPU
                bfloat16 where it has the instructions, else float32.

        Raises:
            PriorError: if files are missing or damaged.
        """
        self.tokenizer, self.text_encoder, unet, bar = _load(folder)
        self.unshuffle = unshuffle_of(unet.config)
        is_distilled = unet.config.get("time_cond_proj_dim") is not None
        self.largest_scale = LARGEST_SCALE if is_distilled else 0.0
        self.device = device
        self.dtype = fastest_dtype(device) if dtype is None else dtype
        # Sixteen-bit convolutions are fastest in channels-last memory, float32 ones are not.
        plain = self.dtype == torch.float32
        self.layout = torch.contiguous_format if plain else torch.channels_last
        self.unet = unet.to(device, self.dtype, memory_format=self.layout)  # type: ignore[call-overload]
        if device.type == "cuda":
            self.unet.stack_projections()
        bar = bar.to(device)
        self.alpha, self.sigma = bar.sqrt(), (1 - bar).sqrt()

    @property
    def network(self) -> Any:
        """Return the UNet, see `Prior.network`."""
        return self.unet

    def weight_bytes(self) -> dict[str, int]:
        """Return the bytes of the UNet, see `Prior.weight_bytes`."""
        return {"unet": size_of(self.unet)}

    @neutral_torch_state(keep_grad=True)
    def noise_schedule(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the schedule of its training, see `Prior.noise_schedule`."""
        return self.alpha.to(device), self.sigma.to(device)

    @neutral_torch_state(keep_grad=True)
    @torch.no_grad()
    def encode_prompt(
        self, prompt: str, *, views: str = "camera", negative: str = ""
    ) -> ShapesCondition:
        """Encode the captions of a run, see `Prior.encode_prompt`.

        Raises:
            PromptError: for words outside the grammar, or any negative prompt.
        """
        if negative:
            raise PromptError(
                f"negative: expected '', the embedded prior knows no others, got {negative!r}"
            )
        sentence = read(prompt).sentence
        variants = (caption(sentence), caption(textureless(sentence)))
        endings = ("", *(f" {word} view" for word in VIEW_WORDS))
        captions = [variant + ending for variant in variants for ending in endings]
        text = self._encode([*captions, ""]).to(self.device, self.dtype)
        rows = text[:-1].unflatten(0, (len(variants), len(endings)))
        return ShapesCondition(rows[None], text[-1:], views)

    def join_prompts(self, embeddings: Sequence[ShapesCondition]) -> ShapesCondition:
        """Return one embedding for images of several prompts, see `Prior.join_prompts`."""
        return embeddings[0]._replace(text=torch.cat([e.text for e in embeddings]))

    def normal_form(self, prompt: str) -> str:
        """Return the sentence with every colour stated, see `Prior.normal_form`."""
        return read(prompt).sentence.text()

    def notes(self, prompt: str) -> tuple[str, ...]:
        """Return what is made in place of kinds of things and shades, see `Prior.notes`."""
        return read(prompt).notes

    def _encode(self, captions: list[str]) -> Tensor:
        encoded: Tensor = self.text_encoder(self.tokenizer(captions))
        return encoded

    @neutral_torch_state(keep_grad=True)
    @torch.no_grad()
    def predict_noise(
        self,
        noisy: Tensor,
        t: Tensor,
        condition: ShapesCondition,
        *,
        cameras: CameraBatch | None,
        textureless: Tensor,
        conditions: tuple[Condition, ...] = ("text",),
    ) -> Tensor:
        """Predict noise in one call of the UNet, see `Prior.predict_noise`."""
        eps = self._predict(noisy, t, condition, cameras, textureless, conditions, None)
        return eps.view(len(conditions), *noisy.shape)

    @neutral_torch_state(keep_grad=True)
    @torch.no_grad()
    def predict_guided(
        self,
        noisy: Tensor,
        t: Tensor,
        condition: ShapesCondition,
        *,
        cameras: CameraBatch | None,
        textureless: Tensor,
        scale: float,
    ) -> Tensor:
        """Predict guided noise in one call of the UNet, see `Prior.predict_guided`."""
        return self._predict(noisy, t, condition, cameras, textureless, ("text",), scale)

    @neutral_torch_state(keep_grad=True)
    def predict_trained(
        self,
        noisy: Tensor,
        t: Tensor,
        condition: ShapesCondition,
        *,
        cameras: CameraBatch | None,
        textureless: Tensor,
    ) -> Tensor:
        """Predict noise with a graph, see `Prior.predict_trained`."""
        return self._predict(noisy, t, condition, cameras, textureless, ("text",), None)

    def _predict(
        self,
        noisy: Tensor,
        t: Tensor,
        condition: ShapesCondition,
        cameras: CameraBatch | None,
        textureless: Tensor,
        conditions: tuple[Condition, ...],
        scale: float | None,
    ) -> Tensor:
        """Return the noise under n conditions, or guided with a scale, [n B, 3, h, w]."""
        batch = noisy.shape[0]
        view = torch.zeros(batch, dtype=torch.int64, device=noisy.device)
        camera, rays = noisy.new_zeros(batch, CAMERA_FEATURES), torch.zeros_like(noisy)
        if cameras is not None and condition.views != "none":
            view = 1 + view_index(cameras.azimuth, cameras.elevation)
            if condition.views == "camera":
                camera = camera_features(
                    cameras.azimuth, cameras.elevation, cameras.distance, cameras.fov
                )
                rays = ray_map(cameras)
        prompt = torch.arange(batch, device=noisy.device) * len(condition.text) // batch
        captions = {"text": condition.text[prompt, textureless.long(), view]}
        empty, n = condition.empty.expand(batch, -1, -1), len(conditions)
        text = torch.cat([captions.get(c, empty) for c in conditions])
        x = F.pixel_unshuffle(torch.cat([noisy, rays], 1), self.unshuffle).repeat(n, 1, 1, 1)
        x = x.to(self.dtype, memory_format=self.layout)
        camera = camera.repeat(n, 1).to(self.dtype)
        told = None
        if scale is not None:
            told = scale_features(torch.full((n * batch,), scale, device=x.device)).to(self.dtype)
        v = self.unet(x, t.repeat(n), text, camera, told)
        v = F.pixel_shuffle(v.float(), self.unshuffle)
        alpha, sigma = (table[t].repeat(n) for table in self.noise_schedule(noisy.device))
        return eps_from_v(v, noisy.repeat(n, 1, 1, 1), alpha, sigma)


def fastest_dtype(device: torch.device) -> torch.dtype:
    """Return the arithmetic in which the UNet is fastest on a device."""
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if multiplies_bfloat16() else torch.float32


def caption(sentence: Sentence) -> str:
    """Return the caption that training had for a sentence."""
    return " ".join(word for word in sentence.words() if word not in ("a", "an"))


def textureless(sentence: Sentence) -> Sentence:
    """Return what the textureless image shows: "plain" things without patterns."""
    things = [
        replace(
            thing, color=PLAIN, part_color=thing.part_color and PLAIN, pattern=None, second=None
        )
        for thing in sentence.things
    ]
    return replace(sentence, things=tuple(things))


def unshuffle_of(config: Mapping[str, Any]) -> int:
    """Return how many pixels a side of an image are the channels of one of the UNet's.

    Args:
        config: of the UNet.

    Raises:
        ValueError: if the sizes in it do not fit an image and its ray map.
    """
    factor = IMAGE_SIZE // config["sample_size"]
    channels = config["in_channels"], config["out_channels"]
    if channels != (6 * factor**2, 3 * factor**2):
        raise ValueError(
            f"in_channels, out_channels: expected {6 * factor**2}, {3 * factor**2} at sample_size "
            f"{config['sample_size']}, got {channels[0]}, {channels[1]}"
        )
    return factor


def _load(folder: Path) -> tuple[Tokenizer, TextEncoder, UNet, Tensor]:
    """Return tokenizer, text encoder, UNet and signal levels [T], in float32 on the CPU.

    Raises:
        PriorError: if files are missing or damaged.
    """
    missing = [
        p for p in ("unet", "text_encoder", "tokenizer", "scheduler") if not (folder / p).is_dir()
    ]
    if missing:
        raise PriorError(
            f"prior: the embedded weights are incomplete ({folder / missing[0]} is missing); "
            "install dfast again with `pip install --force-reinstall --no-deps .`"
        )
    try:
        text_config = _config(folder / "text_encoder")
        # Small, and an embedding on the meta device imports torch._dynamo, which takes a second.
        text_encoder = TextEncoder(text_config)
        state = load_file(folder / "text_encoder" / "model.safetensors")
        text_encoder.load_state_dict(from_transformers(state))
        with torch.device("meta"):  # the file has all parameters: none are drawn
            unet = UNet(_config(folder / "unet"))
        state = from_diffusers(load_file(folder / "unet" / "diffusion_pytorch_model.safetensors"))
        state = {name: value.to(torch.float32, copy=True) for name, value in state.items()}
        unet.load_state_dict(state, assign=True)
        unshuffle_of(unet.config)  # raises for sizes that do not fit
        frozen = text_encoder.eval().requires_grad_(False), unet.eval().requires_grad_(False)
        tokenizer = Tokenizer(folder / "tokenizer", text_config["max_position_embeddings"])
        return tokenizer, *frozen, signal_levels(folder / "scheduler")
    except Exception as error:  # damaged files fail in many ways
        if ran_out(error):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PriorError(f"prior: cannot load {folder} ({reason})") from error


def _config(folder: Path) -> dict[str, Any]:
    """Return the settings of a network."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config
