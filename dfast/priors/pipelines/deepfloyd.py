"""DeepFloyd IF, stage I: pixels, a T5 text encoder, six output channels.

It is nearest to Imagen, the prior of DreamFusion.
"""

from __future__ import annotations

import torch

from dfast.config import PriorConfig
from dfast.errors import PriorError
from dfast.priors.loading.compatibility import T5
from dfast.priors.loading.embedding_cache import EncodedSentence
from dfast.priors.loading.folder import Folder
from dfast.priors.loading.text_encoders import one_at_a_time
from dfast.priors.pipelines.base import TextPrior


class DeepFloyd(TextPrior):
    """A `Prior` of the folder of an IFPipeline. It diffuses the image itself."""

    family = "if"
    text_kind = T5

    def __init__(self, folder: Folder, device: torch.device, options: PriorConfig) -> None:
        """Read the small files, see `TextPrior`."""
        super().__init__(folder, device, options)
        levels = self.unet_config.get("block_out_channels")
        # The UNet halves the image between levels, and must be able to double it back.
        factor = 2 ** (len(levels) - 1) if isinstance(levels, list) and levels else 1
        if self.image_size % factor:
            raise PriorError(
                f"prior.image_size: expected a multiple of {factor}, got {self.image_size}"
            )

    def _format_sentence(self, text: str) -> str:
        return text.lower().strip()

    def _encode_text(self, sentences: list[str], dtype: torch.dtype) -> list[EncodedSentence]:
        rows = self._tokenize("tokenizer", sentences)
        with self._text_encoder("text_encoder", "T5EncoderModel", dtype) as model:
            return [
                {"hidden": model(ids, attention_mask=mask)[0][0]}
                for ids, mask in one_at_a_time(model, rows)
            ]
