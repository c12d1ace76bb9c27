"""DeepFloyd IF, stage I: pixels, a T5 text encoder, six output channels; nearest to Imagen."""

from __future__ import annotations

import torch

from dfast.config import PriorConfig
from dfast.errors import PriorError
from dfast.priors.loading.compatibility import T5
from dfast.priors.loading.embedding_cache import Encoded
from dfast.priors.loading.folder import Folder
from dfast.priors.loading.text_encoders import encoder, one_by_one
from dfast.priors.pipelines.base import TextPrior


class DeepFloyd(TextPrior):
    """`dfast.priors.Prior` of an IFPipeline's folder. It diffuses the picture itself."""

    family = "if"
    text_kind = T5

    def __init__(self, folder: Folder, device: torch.device, options: PriorConfig) -> None:
        """Reads small files only. Raises PriorError."""
        super().__init__(folder, device, options)
        levels = self.unet_config.get("block_out_channels")
        # Halved between levels, and put back together.
        factor = 2 ** (len(levels) - 1) if isinstance(levels, list) and levels else 1
        if self.image_size % factor:
            raise PriorError(
                f"prior.image_size: expected a multiple of {factor}, got {self.image_size}"
            )

    def _sentence(self, text: str) -> str:
        return text.lower().strip()

    def _encode_text(self, sentences: list[str], dtype: torch.dtype) -> list[Encoded]:
        ids, mask = self._tokens("tokenizer", sentences)
        with encoder(
            self.folder, "text_encoder", "T5EncoderModel", dtype, self.device,
            self.options.text_encoder,
        ) as model:  # fmt: skip
            return [
                {"hidden": model(row, attention_mask=masked)[0][0]}
                for row, masked in one_by_one(model, ids, mask)
            ]
