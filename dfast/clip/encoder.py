"""One encoder of images and texts: any CLIP of transformers, differentiable through the image."""

from __future__ import annotations

import hashlib
import warnings
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from dfast._device import pick_device
from dfast._numbers import shown
from dfast.clip.loading import ClipFolder, find_clip, load_network, load_words
from dfast.clip.preprocessing import Preprocessing
from dfast.errors import DfastWarning, PromptError
from dfast.ops.ambient import neutral_torch_state
from dfast.priors.loading.folder import ROOT
from dfast.priors.loading.loader_errors import calls_of
from dfast.priors.loading.quiet import quiet

CHUNK = 64
"""Most images or texts encoded at once, which bounds the memory of a call."""


class ClipEncoder:
    """A frozen CLIP in float32; embeddings have length 1, so that products are cosines.

    Attributes:
        name: as it was asked for.
        folder: of its files.
        device: where it runs.
        network: transformers' CLIPModel.
        tokenizer: transformers' CLIPTokenizer.
        preprocessing: from display RGB to the network's pixels.
        image_size: pixels a side that the network sees.
        context_length: tokens of the longest text, its two ends included.
        width: numbers of an embedding.
    """

    def __init__(
        self,
        name: str,
        folder: ClipFolder,
        network: Any,
        tokenizer: Any,
        preprocessing: Preprocessing,
    ) -> None:
        """Make an encoder of what `load_clip` has read.

        Args:
            name: for reports.
            folder: of its files.
            network: transformers' CLIPModel.
            tokenizer: transformers' CLIPTokenizer.
            preprocessing: from display RGB to the network's pixels.
        """
        self.name, self.folder = name, folder
        self.network, self.tokenizer, self.preprocessing = network, tokenizer, preprocessing
        config = network.config
        self.image_size = int(config.vision_config.image_size)
        self.context_length = int(config.text_config.max_position_embeddings)
        self.width = int(config.projection_dim)

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return next(self.network.parameters()).device

    @property
    def logit_scale(self) -> float:
        """The factor by which the CLIP was trained to multiply cosines before a softmax."""
        return float(self.network.logit_scale.exp())

    @property
    def revision(self) -> str | None:
        """The commit of the hub's repository; None for a folder that is not in its cache."""
        return self.folder.path.name if self.folder.fetched else None

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of all weights as float32, by name, whatever file or dtype held them."""
        digest = hashlib.sha256()
        for key, value in sorted(self.network.named_parameters()):
            digest.update(f"{key} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @neutral_torch_state(keep_grad=True)
    def encode_images(self, images: Tensor) -> Tensor:
        """Encode images; differentiable in them, through the resize as if it did not round.

        Args:
            images: [B, 3, H, W] display RGB in [0, 1], of any size, on any device.

        Returns:
            [B, width] float32 of length 1, on the device of the network.

        Raises:
            ValueError: images of another shape or dtype.
            PriorError: the folder resizes images to another size than its network takes.
        """
        if not isinstance(images, Tensor) or not images.is_floating_point():
            got = str(images.dtype) if isinstance(images, Tensor) else type(images).__name__
            raise ValueError(f"images: expected a float tensor in [0, 1], got {got}")
        if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape[2:]:
            raise ValueError(f"images: expected [B, 3, H, W], got {list(images.shape)}")
        size = self.preprocessing.result(images.shape[2], images.shape[3])
        if size != (self.image_size, self.image_size):
            expected, got = (f"{h} x {w}" for h, w in ((self.image_size,) * 2, size))
            raise self.folder.error(
                f"expected its image processor to make {expected} pixels, got {got} from "
                f"{images.shape[2]} x {images.shape[3]}"
            )
        parts = [torch.zeros(0, self.width, device=self.device)]
        for chunk in images.to(self.device).split(CHUNK) if len(images) else ():
            pixels = self.preprocessing(chunk)
            with calls_of(self.folder, ROOT, self.device):
                found = self.network.get_image_features(pixel_values=pixels)
            parts.append(normalize(_features(found), dim=-1))
        return torch.cat(parts)

    @neutral_torch_state()
    def encode_text(self, texts: list[str]) -> Tensor:
        """Encode texts, without gradients; long ones are cut, and a warning says which.

        Args:
            texts: N of them.

        Returns:
            [N, width] float32 of length 1, on the device of the network.

        Raises:
            PromptError: something that is no text.
        """
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise PromptError(f"texts: expected a list of strings, got {shown(texts)}")
        parts = [torch.zeros(0, self.width, device=self.device)]
        parts += [self._encode_chunk(texts[i : i + CHUNK]) for i in range(0, len(texts), CHUNK)]
        return torch.cat(parts)

    def _encode_chunk(self, texts: list[str]) -> Tensor:
        """Return the embeddings of a few texts, [N, width]."""
        with quiet(), calls_of(self.folder, ROOT, self.device):
            whole = self.tokenizer(texts).input_ids
            tokens = self.tokenizer(
                texts,
                padding=True,
                truncation=True,
                max_length=self.context_length,
                return_tensors="pt",
            ).to(self.device)
            found = self.network.get_text_features(
                input_ids=tokens.input_ids, attention_mask=tokens.attention_mask
            )
        for text, ids in zip(texts, whole, strict=True):
            if len(ids) > self.context_length:
                warnings.warn(
                    f"clip {self.name!r}: reads {self.context_length} tokens of a text, got "
                    f"{len(ids)}; the rest is left out: {shown(text)}",
                    DfastWarning,
                    stacklevel=4,
                )
        return normalize(_features(found), dim=-1)

    def about(self) -> dict[str, Any]:
        """Return what a report says of the encoder, as JSON can hold it."""
        p = self.preprocessing
        return {
            "name": self.name,
            "revision": self.revision,
            "weights_sha256": self.digest,
            "image_size": self.image_size,
            "context_length": self.context_length,
            "logit_scale": self.logit_scale,
            "preprocessing": {
                "resize": p.resize, "filter": p.filter, "crop": p.crop, "mean": p.mean,
                "std": p.std, "rounding": "8 bits after each pass, as Pillow",
            },
        }  # fmt: skip


def _features(found: Any) -> Tensor:
    """Return the embeddings that transformers computed; its versions differ in how."""
    features: Tensor = found if isinstance(found, Tensor) else found.pooler_output
    return features.float()


@neutral_torch_state()
def load_clip(
    name: str, device: torch.device | str | None = None, *, download: bool = False
) -> ClipEncoder:
    """Load a CLIP.

    Args:
        name: "shapes" (embedded), a folder of transformers' CLIPModel, or a hub id "owner/name".
        device: where it runs; None takes a GPU if there is one.
        download: fetch what is not on this machine, after printing what and how large. Without it
            the network is never used.

    Raises:
        PriorError: there is none of this name, or its files are missing, damaged or of another
            model.
        DeviceError: there is no such device.
    """
    where = pick_device(device)
    folder = find_clip(name, download=download)
    folder.check_model()
    preprocessing, tokenizer = folder.preprocessing(), load_words(folder)
    network = load_network(folder, where)
    _check_vocabulary(folder, network.config.text_config, tokenizer)
    return ClipEncoder(name, folder, network, tokenizer, preprocessing)


def _check_vocabulary(folder: ClipFolder, text: Any, tokenizer: Any) -> None:
    """Raise PriorError for a tokenizer with tokens or an end that its network does not know."""
    if len(tokenizer) > text.vocab_size:
        raise folder.mismatch_error(
            ROOT, "text_config.vocab_size", f"of at least {len(tokenizer)}", text.vocab_size,
            other="tokenizer",
        )  # fmt: skip
    # 2 was written by mistake into many folders: transformers then takes the largest token.
    if text.eos_token_id not in (2, tokenizer.eos_token_id):
        raise folder.mismatch_error(
            ROOT, "text_config.eos_token_id", tokenizer.eos_token_id, text.eos_token_id,
            other="tokenizer",
        )  # fmt: skip
