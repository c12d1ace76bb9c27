"""Stable Diffusion XL: two text encoders, a pooled embedding, and the picture's size as text."""

from __future__ import annotations

import torch
from torch import Tensor

from dfast.config import PriorConfig
from dfast.priors.loading.embedding_cache import Encoded
from dfast.priors.loading.folder import INDEX, Folder
from dfast.priors.loading.text_encoders import encoder, one_by_one
from dfast.priors.pipelines.stable_diffusion import StableDiffusion

_ENCODERS = (
    ("text_encoder", "tokenizer", "CLIPTextModel"),
    ("text_encoder_2", "tokenizer_2", "CLIPTextModelWithProjection"),
)


class StableDiffusionXL(StableDiffusion):
    """`dfast.priors.Prior` of a StableDiffusionXLPipeline's folder."""

    family = "sdxl"
    text_parts = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    usual_size = 128

    def __init__(self, folder: Folder, device: torch.device, options: PriorConfig) -> None:
        """Reads small files only. Raises PriorError."""
        super().__init__(folder, device, options)
        self._empty_is_zero = bool(folder.read(INDEX).get("force_zeros_for_empty_prompt", True))
        self._check_pooled()
        size = float(self.image_size)  # height, width, crop from the top and left, target size
        self._time_ids = torch.tensor([size, size, 0.0, 0.0, size, size], device=device)

    def _check_pooled(self) -> None:
        """Whether the sentence and the six numbers of a picture are as wide as the UNet expects."""
        both = self.folder.number("unet", "projection_class_embeddings_input_dim", None)
        rest = both - 6 * self.folder.number("unet", "addition_time_embed_dim", None)
        part, key = "text_encoder_2", "projection_dim"
        if self.folder.config(part) and (got := self.folder.number(part, key, 512)) != rest:
            raise self.folder.unlike(part, key, rest, got, like="UNet")

    def _vae_dtype(self) -> torch.dtype:
        """float32 for the VAE that overflows float16, which says so in its configuration."""
        config = self.folder.read("vae", "config.json")
        if self.options.vae_precision == "auto" and config.get("force_upcast", True):
            return torch.float32
        return super()._vae_dtype()

    def _encode_text(self, sentences: list[str], dtype: torch.dtype) -> list[Encoded]:
        hidden: list[list[Tensor]] = []
        pooled: list[Tensor] = []
        for part, words, cls in _ENCODERS:
            ids, _ = self._tokens(words, sentences)
            where = self.options.text_encoder
            with encoder(self.folder, part, cls, dtype, self.device, where) as model:
                made = [
                    model(row, output_hidden_states=True) for row, _ in one_by_one(model, ids, ids)
                ]
                hidden.append([m.hidden_states[-2][0].float().cpu() for m in made])
                pooled = [m[0][0] for m in made]  # of the second: the projected sentence
        rows = [torch.cat(pair, -1) for pair in zip(*hidden, strict=True)]
        return [{"hidden": h, "pooled": p} for h, p in zip(rows, pooled, strict=True)]

    def _encoded(self, sentences: list[str]) -> dict[str, Encoded]:
        rows = super()._encoded(sentences)
        if self._empty_is_zero:  # the convention of its training, not what the encoders say
            rows[""] = {name: torch.zeros_like(value) for name, value in rows[""].items()}
        return rows

    def _denoise(self, noisy: Tensor, t: Tensor, rows: dict[str, Tensor]) -> Tensor:
        assert self._run is not None
        added = {
            "text_embeds": rows["pooled"],
            "time_ids": self._time_ids.expand(len(noisy), -1),
        }
        return self._run(noisy, t, rows["hidden"], added_cond_kwargs=added, return_dict=False)[0]
