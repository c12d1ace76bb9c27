"""What the priors of all pipeline folders share.

A family adds how its text is encoded and how its UNet is called. Weights are read when they are
needed: `encode_prompt` loads text encoders, if a sentence is not in the cache, and frees them;
`load` then loads the UNet.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from dfast.config import PriorConfig
from dfast.errors import PriorError
from dfast.ops.ambient import neutral_torch_state
from dfast.priors.base import Condition, Prior
from dfast.priors.loading.compatibility import CLIP, check_text
from dfast.priors.loading.embedding_cache import EncodedSentence, hash_file
from dfast.priors.loading.folder import Folder
from dfast.priors.loading.foreign import check_names
from dfast.priors.loading.loader_errors import calls_of
from dfast.priors.loading.lora import merge_lora
from dfast.priors.loading.lora_files import DENOISER, lora_error, open_lora
from dfast.priors.loading.networks import build_unet, unet_key
from dfast.priors.loading.text_encoders import (
    eight_bit_options,
    load_tokenizer,
    open_text_encoder,
    tokenize,
)
from dfast.priors.loading.weights import load_weights
from dfast.priors.noise_schedule import NoiseSchedule
from dfast.priors.pipelines.cached_text import encode_cached
from dfast.priors.pipelines.text import (
    VIEW_CONDITIONING,
    TextCondition,
    sentence_weights,
    sentences_of,
)
from dfast.scene.cameras import CameraBatch

PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


class TextPrior(Prior):
    """A `Prior` of a pipeline folder.

    Subclasses set class attributes, define `_encode_text`, and may override `_denoise`.

    Attributes:
        text_parts: parts of the folder that encode text: an encoder and its tokenizer, and perhaps
            a second pair.
        text_kind: of the text encoders, for checks.
        text_length: tokens that a sentence is padded to.
        text_half: precision of the text encoders beside a half-precision UNet.
        half: precision of the UNet on CUDA by default.
        flow: whether the network predicts the velocity of a flow.
        ldm: whether the UNet is published with the names of latent diffusion.
        denoiser: the part of the folder that denoises, which is called the UNet throughout.
        default_sample_size: cells a side of what the UNet diffuses, if the folder does not say.
    """

    options: PriorConfig
    conditions = ("text", "negative", "null", "perp_neg_front", "perp_neg_side")
    joins_prompts = True
    text_parts: tuple[str, ...] = ("text_encoder", "tokenizer")
    text_kind = CLIP
    text_length = 77
    text_half = half = torch.float16
    denoiser = "unet"
    flow = False
    ldm = False
    default_sample_size = 64

    def __init__(self, folder: Folder, device: torch.device, options: PriorConfig) -> None:
        """Read the small files.

        Args:
            folder: of a pipeline of this family.
            device: where the networks will run.
            options: how they are loaded and run.

        Raises:
            PriorError: if the folder is incomplete or damaged, or its parts do not match.
        """
        self.folder, self.device, self.options = folder, device, options
        self.name = folder.name
        if options.vae and not self.is_latent:
            raise PriorError(f"prior.vae: expected '' with {self.name!r}, which sees pixels")
        self.lora_files = [open_lora(text) for text in options.lora]
        self.lora = tuple(map(str, self.lora_files))
        # Weights that are streamed to the device cannot be recorded.
        self.cuda_graph_safe = options.offload == "none"
        cuda = device.type == "cuda"
        self.dtype = PRECISIONS.get(options.precision, self.half if cuda else torch.float32)
        self.layout = torch.channels_last if cuda else torch.contiguous_format
        self.schedule = NoiseSchedule(
            folder.read("scheduler", "scheduler_config.json"), folder.name
        )
        if (found := self.schedule.prediction == "flow") != self.flow:
            kinds = ("whose noise is defined by betas", "of a flow")
            expected = f"scheduler: expected one {kinds[self.flow]} for this {self.denoiser}"
            raise folder.error(f"{expected}, got one {kinds[found]}")
        self.unet_config = folder.read(self.denoiser, "config.json")
        weights = folder.weights(self.denoiser, half=self.dtype != torch.float32)
        check_names(folder, self.denoiser, weights, ldm=self.ldm)
        self._check_text_weights()
        self._check_text_parts()
        self._check_lora_parts()
        self.image_size = options.image_size or self._sample_size()
        self.unet: Any = None
        self._network: Any = None
        self._is_tuned = False
        self.untrainable = _why_untrainable(options)

    def _check_text_weights(self) -> None:
        """Check the names of tensors of the text encoders that are there; see `check_names`."""
        for part in self.text_parts[::2]:
            try:
                weights = self.folder.weights(part, half=self.dtype != torch.float32)
            except PriorError:  # raised again by whoever needs the encoder
                continue
            check_names(self.folder, part, weights)

    def _check_text_parts(self) -> None:
        """Raise PriorError unless the text encoders fit their tokenizers and the UNet."""
        check_text(self.folder, self.text_kind, self.text_parts, self.text_length)

    def _check_lora_parts(self) -> None:
        """Raise PriorError for LoRA files that change parts which this prior cannot change."""
        encoders = self.text_parts[::2]
        for file in self.lora_files:
            changed = [part for part in file.parts if part != DENOISER]
            if lost := [part for part in changed if part not in encoders]:
                raise lora_error(file.path, f"it changes the {lost[0]}, which {self.name!r} lacks")
            if changed and self.options.text_encoder == "8bit":
                raise lora_error(
                    file.path, f"it changes the {changed[0]}, which text_encoder = '8bit' forbids"
                )

    def _sample_size(self) -> int:
        """Return the cells a side of what the UNet diffused in training."""
        return int(max(self.folder.numbers(self.denoiser, "sample_size", self.default_sample_size)))

    @neutral_torch_state(keep_grad=True)
    def noise_schedule(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return that of the folder's scheduler, see `Prior.noise_schedule`."""
        alpha, sigma = self.schedule.to(self.device)
        return alpha.to(device), sigma.to(device)

    # Text

    @neutral_torch_state(keep_grad=True)
    @torch.no_grad()
    def encode_prompt(
        self, prompt: str, *, views: str = "camera", negative: str = ""
    ) -> TextCondition:
        """Encode the sentences of a run, see `Prior.encode_prompt`."""
        if views not in VIEW_CONDITIONING:
            expected = ", ".join(VIEW_CONDITIONING)
            raise PriorError(f"views: expected one of {expected}, got {views!r}")
        sentences = self._sentences(prompt, negative)
        encoded = self._encode_sentences(list(dict.fromkeys(sentences)))
        rows = [encoded[s] for s in sentences]
        tables = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        return TextCondition({k: v.to(self.device) for k, v in tables.items()}, views)

    def join_prompts(self, embeddings: Sequence[TextCondition]) -> TextCondition:
        """Return one embedding for images of several prompts, see `Prior.join_prompts`."""
        first = embeddings[0]
        tables = {name: torch.cat([e.tables[name] for e in embeddings]) for name in first.tables}
        return TextCondition(tables, first.views)

    @neutral_torch_state(keep_grad=True)
    def check_text(self, prompt: str, negative: str) -> None:
        """Raise what `encode_prompt` would raise, as far as small files tell.

        Parts that are missing are not checked, since the sentences may be cached.

        Args:
            prompt: description of the object.
            negative: the negative prompt; empty for none.

        Raises:
            PriorError: if a tokenizer cannot be used.
            PromptError: if a sentence is too long.
        """
        if self.options.text_encoder == "8bit":
            eight_bit_options(self.device)
        for part in self.text_parts[1::2]:
            if self.folder.has(part):
                self._tokenize(part, self._sentences(prompt, negative))

    def weight_bytes(self) -> dict[str, int]:
        """Return the bytes of the network as it is stored, see `Prior.weight_bytes`."""
        return {self.denoiser: self.folder.weights(self.denoiser).bytes}

    def text_bytes(self) -> int:
        """Return the bytes of the text encoders as stored; 0 if they are missing."""
        parts = [p for p in self.text_parts if p.startswith("text_encoder") and self.folder.has(p)]
        return sum(self.folder.weights(part).bytes for part in parts)

    def _sentences(self, prompt: str, negative: str) -> list[str]:
        return [self._format_sentence(s) for s in sentences_of(prompt, negative)]

    def _format_sentence(self, text: str) -> str:
        """Return a text as the encoder saw texts in training."""
        return text

    def _tokenize(self, part: str, sentences: list[str]) -> list[tuple[Tensor, Tensor]]:
        """Return (ids, mask) of each sentence, [1, length] each, by the tokenizer of that part."""
        tokenizer = load_tokenizer(self.folder, part, self.text_kind.tokenizer)
        with calls_of(self.folder, part, self.device):
            rows = tokenize(tokenizer, sentences, self.text_length)
        self._check_tokens(part, rows)
        return rows

    def _check_tokens(self, part: str, rows: list[tuple[Tensor, Tensor]]) -> None:
        """Raise PriorError for a special token that is not in the encoder's vocabulary."""
        encoder = self.text_parts[self.text_parts.index(part) - 1]
        known = self.folder.config(encoder).get("vocab_size", math.inf)
        if (largest := max(int(ids.max()) for ids, _ in rows)) >= known:
            raise self.folder.mismatch_error(
                part, "tokens", f"below {known}", largest, other=encoder
            )

    def _encode_sentences(self, sentences: list[str]) -> dict[str, EncodedSentence]:
        """Return sentences from the cache; the text encoder encodes the others."""
        dtype = torch.float32 if self.dtype == torch.float32 else self.text_half
        settings: dict[str, object] = {
            "length": self.text_length,
            "dtype": str(dtype),
            "family": self.family,
            "rounded": self.options.text_encoder == "8bit",
        }
        if changed := [f for f in self.lora_files if set(f.parts) - {DENOISER}]:
            settings["lora"] = [[hash_file(file.path), str(file)] for file in changed]
        return encode_cached(
            self.folder, self.text_parts, self.device, sentences, settings,
            lambda missing: self._encode_text(missing, dtype),
        )  # fmt: skip

    def _encode_text(self, sentences: list[str], dtype: torch.dtype) -> list[EncodedSentence]:
        """Encode sentences by encoders that are freed before this returns.

        Sentences are encoded one at a time: in a batch, the last bits of the values depend on the
        size of the batch, which is how many sentences were not cached. T5-XXL on a CPU takes less
        than twice as long as in a batch, though its blocks are cast to float32 for each sentence.
        """
        raise NotImplementedError

    @contextmanager
    def _text_encoder(self, part: str, cls: str, dtype: torch.dtype) -> Iterator[Any]:
        """Load a text encoder for a block, see `open_text_encoder`, with what LoRA files change."""
        setting = self.options.text_encoder
        with open_text_encoder(self.folder, part, cls, dtype, self.device, setting) as model:
            merge_lora(model, self.lora_files, part)
            yield model

    # Networks

    @neutral_torch_state(keep_grad=True)
    def load(self) -> None:
        """Load the UNet, once."""
        if self._network is not None:
            return
        streamed = self.options.offload == "model" and self.device.type == "cuda"
        where = torch.device("cpu") if streamed else self.device
        unet = self._load_unet(where)
        merge_lora(unet, self.lora_files, DENOISER)
        unet = unet.to(memory_format=self.layout)
        if self.options.attention_slicing:
            unet.set_attention_slice("auto")
        if streamed:
            unet.enable_group_offload(
                onload_device=self.device,
                offload_device=where,
                offload_type="leaf_level",
                use_stream=True,
            )
        elif self.device.type == "cuda" and self._tuned():
            from dfast.priors.fused.tune import tune

            tune(unet)
            self._is_tuned = True
        self.unet = self._network = unet
        if self.options.compile:
            print("dfast: compiling the UNet, about a minute", file=sys.stderr, flush=True)
            self._network = torch.compile(unet, fullgraph=True, dynamic=False)

    def _tuned(self) -> bool:
        """Return whether dfast's own kernels take the place of parts of the UNet."""
        return self.options.tuned and not self.options.compile

    def _load_unet(self, device: torch.device) -> Any:
        return load_weights(self._build_unet(), self.folder, "unet", device, unet_key)

    def _build_unet(self) -> Any:
        return build_unet(self.folder, self.dtype)

    @property
    def network(self) -> nn.Module | None:
        """Return the UNet, compiled if the options say so."""
        return self._network

    @neutral_torch_state(keep_grad=True)
    def cost_parts(self) -> dict[str, nn.Module]:
        """Return the networks of a step, built on the meta device as they will be loaded."""
        return {"unet": self._build_unet()}

    @neutral_torch_state(keep_grad=True)
    @torch.no_grad()
    def predict_noise(
        self,
        noisy: Tensor,
        t: Tensor,
        condition: TextCondition,
        *,
        cameras: CameraBatch | None,
        textureless: Tensor,
        conditions: tuple[Condition, ...] = ("text",),
    ) -> Tensor:
        """Predict noise in one call of the UNet, see `Prior.predict_noise`.

        `textureless` is ignored: the prompts of these models do not mention it.
        """
        return self._predict(noisy, t, condition, cameras, conditions)

    @neutral_torch_state(keep_grad=True)
    def predict_trained(
        self,
        noisy: Tensor,
        t: Tensor,
        condition: TextCondition,
        *,
        cameras: CameraBatch | None,
        textureless: Tensor,
    ) -> Tensor:
        """Predict noise with a graph, see `Prior.predict_trained`."""
        self.load()
        with self._attention_in_parts():
            return self._predict(noisy, t, condition, cameras, ("text",))[0]

    def _attention_in_parts(self) -> AbstractContextManager[None]:
        """Return a block in which every projection of an attention is called as a module."""
        if not self._is_tuned:
            return nullcontext()
        from dfast.priors.fused.attention import separate_projections

        return separate_projections(self.unet)

    def _predict(
        self,
        noisy: Tensor,
        t: Tensor,
        condition: TextCondition,
        cameras: CameraBatch | None,
        conditions: tuple[Condition, ...],
    ) -> Tensor:
        if not conditions or not set(conditions) <= set(self.conditions):
            raise PriorError(
                f"conditions: expected some of {', '.join(self.conditions)}, got {conditions!r}"
            )
        self.load()
        n, channels = len(conditions), noisy.shape[1]
        weights = torch.cat(
            [sentence_weights(c, condition.views, cameras, noisy) for c in conditions]
        )
        known = condition.mix(weights, len(noisy)) | self._view_inputs(cameras, n)
        text = {k: v.to(self.dtype) for k, v in known.items()}
        repeated, t = noisy.repeat(n, 1, 1, 1), t.repeat(n)
        cast = repeated.to(self.dtype, memory_format=self.layout)
        # Models with a learned variance append it to the noise.
        with calls_of(self.folder, self.denoiser, self.device):
            output = self._denoise(cast, t, text).float()[:, :channels]
        return self.schedule.eps(output, repeated, t).view(n, *noisy.shape)

    def _view_inputs(self, cameras: CameraBatch | None, times: int) -> dict[str, Tensor]:
        """Return what else the UNet is told of the views, [times B, ...] by name."""
        return {}

    def _denoise(self, noisy: Tensor, t: Tensor, text: dict[str, Tensor]) -> Tensor:
        """Return the output of the UNet, [N, C', h, w]."""
        assert self._network is not None
        return self._network(noisy, t, text["hidden"], return_dict=False)[0]


def _why_untrainable(options: PriorConfig) -> str:
    """Return why no copy of a network that is run like this can be trained; "" if one can."""
    if options.compile:
        return "it is compiled (prior.compile)"
    return "its weights are streamed (prior.offload)" if options.offload != "none" else ""
