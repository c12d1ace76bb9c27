"""Stable Diffusion XL: two text encoders, a pooled embedding, and the sizes of the image."""

from __future__ import annotations

import torch
from torch import Tensor

from dfast.config import PriorConfig
from dfast.priors.loading.embedding_cache import EncodedSentence
from dfast.priors.loading.folder import INDEX, Folder
from dfast.priors.loading.text_encoders import one_at_a_time
from dfast.priors.pipelines.stable_diffusion import StableDiffusion

_ENCODERS = (
    ("text_encoder", "tokenizer", "CLIPTextModel"),
    ("text_encoder_2", "tokenizer_2", "CLIPTextModelWithProjection"),
)


class StableDiffusionXL(StableDiffusion):
    """A `Prior` of the folder of a StableDiffusionXLPipeline."""

    family = "sdxl"
    text_parts = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    default_sample_size = 128
    vae_overflows = True

    def __init__(self, folder: Folder, device: torch.device, options: PriorConfig) -> None:
        """Read the small files, see `TextPrior`."""
        super().__init__(folder, device, options)
        self._empty_is_zero = bool(folder.read(INDEX).get("force_zeros_for_empty_prompt", True))
        self._check_pooled()
        size = float(self.image_size)  # height, width, crop from the top and left, target size
        self._time_ids = torch.tensor([size, size, 0.0, 0.0, size, size], device=device)

    def _check_pooled(self) -> None:
        """Raise PriorError unless the pooled embedding has the width that the UNet expects.

        The UNet takes it together with six numbers, each embedded like a timestep.
        """
        total = self.folder.number("unet", "projection_class_embeddings_input_dim", None)
        expected = total - 6 * self.folder.number("unet", "addition_time_embed_dim", None)
        part, key = "text_encoder_2", "projection_dim"
        if self.folder.config(part) and (got := self.folder.number(part, key, 512)) != expected:
            raise self.folder.mismatch_error(part, key, expected, got, other="UNet")

    def _encode_text(self, sentences: list[str], dtype: torch.dtype) -> list[EncodedSentence]:
        hidden: list[list[Tensor]] = []
        pooled: list[Tensor] = []
        for part, tokenizer, cls in _ENCODERS:
            rows = self._tokenize(tokenizer, sentences)
            with self._text_encoder(part, cls, dtype) as model:
                outputs = [
                    model(ids, output_hidden_states=True) for ids, _ in one_at_a_time(model, rows)
                ]
                hidden.append([out.hidden_states[-2][0].float().cpu() for out in outputs])
                pooled = [out[0][0] for out in outputs]  # the second encoder's is used
        both = [torch.cat(pair, -1) for pair in zip(*hidden, strict=True)]
        return [{"hidden": h, "pooled": p} for h, p in zip(both, pooled, strict=True)]

    def _encode_sentences(self, sentences: list[str]) -> dict[str, EncodedSentence]:
        rows = super()._encode_sentences(sentences)
        if self._empty_is_zero:  # in training the empty prompt was zeros, not what encoders return
            rows[""] = {name: torch.zeros_like(value) for name, value in rows[""].items()}
        return rows

    def _denoise(self, noisy: Tensor, t: Tensor, text: dict[str, Tensor]) -> Tensor:
        assert self._network is not None
        added = {
            "text_embeds": text["pooled"],
            "time_ids": self._time_ids.expand(len(noisy), -1),
        }
        hidden = text["hidden"]
        return self._network(noisy, t, hidden, added_cond_kwargs=added, return_dict=False)[0]
