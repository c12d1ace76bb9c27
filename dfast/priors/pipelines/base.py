"""What every text-conditioned diffusion model of a pipeline folder shares.

A family adds how its text is encoded and how its UNet is called; all else is here. Nothing with
weights is read before it is needed: `encode_prompt` loads text encoders, if a sentence is not in the cache,
and lets go of them; `load` then loads the UNet.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dfast.config import PriorConfig
from dfast.errors import PriorError
from dfast.priors.base import Condition
from dfast.priors.loading.compatibility import CLIP, check_text
from dfast.priors.loading.embedding_cache import EmbeddingCache, Encoded, identity
from dfast.priors.loading.folder import Folder
from dfast.priors.loading.text_encoders import eight_bits, tokenizer, tokens
from dfast.priors.loading.weights import build_unet, fill, unet_key
from dfast.priors.noise_schedule import NoiseSchedule
from dfast.scene import views as view_rules
from dfast.scene.cameras import CameraBatch
from dfast.scene.views import VIEW_WORDS, view_index

BARE, VIEWED, NEGATIVE, NULL, SENTENCES = 0, 1, 5, 6, 7
"""Rows of a condition: the prompt, the prompt told each of VIEW_WORDS, the negative, no words."""

VIEWS = ("camera", "words", "none")
"""How a camera may be told, see `Prior.encode_prompt`."""

PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


class TextCondition(NamedTuple):
    """The sentences of a run, encoded."""

    tables: dict[str, Tensor]
    """[SENTENCES, ...] float32, by name: "hidden" [L,D], and what else the family needs."""
    views: str

    def rows(self, weights: Tensor) -> dict[str, Tensor]:
        """Mixtures of sentences, [N, ...] each; weights [N,SENTENCES] add up to one."""
        return {
            name: (weights @ table.flatten(1)).unflatten(1, table.shape[1:])
            for name, table in self.tables.items()
        }


class TextPrior:
    """`dfast.priors.Prior` of a pipeline folder; see that protocol for the methods.

    Subclasses set the class attributes and `_encode_text`, and may override `_denoise`.
    """

    family = ""
    """As `Config.for_prior` knows it."""
    conditions: tuple[Condition, ...] = (
        "text",
        "negative",
        "null",
        "perp_neg_front",
        "perp_neg_side",
    )
    text_parts: tuple[str, ...] = ("text_encoder", "tokenizer")
    """Parts of the folder that make embeddings."""
    text_kind = CLIP
    text_length = 77
    """Tokens a sentence is padded to."""
    usual_size = 64
    """Cells a side where the folder does not say."""

    def __init__(self, folder: Folder, device: torch.device, options: PriorConfig) -> None:
        """Reads small files only. Raises PriorError for a folder that is not whole."""
        self.folder, self.device, self.options = folder, device, options
        self.name = folder.name
        cuda = device.type == "cuda"
        self.dtype = PRECISIONS.get(options.precision, torch.float16 if cuda else torch.float32)
        self.layout = torch.channels_last if cuda else torch.contiguous_format
        self.schedule = NoiseSchedule(
            folder.read("scheduler", "scheduler_config.json"), folder.name
        )
        self.unet_config = folder.read("unet", "config.json")
        folder.weights("unet", half=self.dtype != torch.float32)
        check_text(folder, self.text_kind, self.text_parts, self.text_length)
        self.image_size = options.image_size or self._made_for()
        self.unet: Any = None
        self._run: Callable[..., Any] | None = None

    def _made_for(self) -> int:
        """Cells a side of what the UNet diffused in training."""
        return int(max(self.folder.numbers("unet", "sample_size", self.usual_size)))

    @property
    def cuda_graph_safe(self) -> bool:
        """Weights that come and go cannot be recorded."""
        return self.options.offload == "none"

    def noise_schedule(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """See `Prior.noise_schedule`."""
        alpha, sigma = self.schedule.to(self.device)
        return alpha.to(device), sigma.to(device)

    @torch.no_grad()
    def encode_prompt(
        self, prompt: str, *, views: str = "camera", negative: str = ""
    ) -> TextCondition:
        """See `Prior.encode_prompt`. Raises PromptError for a prompt that is too long for the encoder."""
        if views not in VIEWS:
            raise PriorError(f"views: expected one of {', '.join(VIEWS)}, got {views!r}")
        sentences = self._sentences(prompt, negative)
        encoded = self._encoded(list(dict.fromkeys(sentences)))
        rows = [encoded[s] for s in sentences]
        tables = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        return TextCondition({k: v.to(self.device) for k, v in tables.items()}, views)

    def check_text(self, prompt: str, negative: str) -> None:
        """Raise what `encode_prompt` would, as far as small files tell.

        Nothing is said of parts that are not there: the sentences may have been kept.
        """
        if self.options.text_encoder == "8bit":
            eight_bits(self.device)
        for part in self.text_parts[1::2]:
            if self.folder.has(part):
                self._tokens(part, self._sentences(prompt, negative))

    def _tokens(self, part: str, sentences: list[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask [n,text_length] by the tokenizer of that part."""
        made = tokenizer(self.folder, part, self.text_kind.tokenizer)
        return tokens(made, sentences, self.text_length)

    def _sentences(self, prompt: str, negative: str) -> list[str]:
        """[SENTENCES] as the encoder was trained to see them."""
        told = [f"{prompt}, {word} view" for word in VIEW_WORDS]
        return [self._sentence(s) for s in (prompt, *told, negative, "")]

    def _encoded(self, sentences: list[str]) -> dict[str, Encoded]:
        """Each sentence from the cache; the others through the text encoder, which goes again."""
        dtype = torch.float32 if self.dtype == torch.float32 else torch.float16
        seen = identity(self.folder, self.text_parts)
        key = {
            "encoders": seen, "length": self.text_length, "dtype": str(dtype),
            "family": type(self).__name__, "format": 2,
            "rounded": self.options.text_encoder == "8bit",
        }  # fmt: skip
        cache = EmbeddingCache(key)
        found = {s: cache.get(s) if seen else None for s in sentences}
        kept = {s: row for s, row in found.items() if row is not None}
        missing = [s for s in sentences if s not in kept]
        if missing:
            for part in self.text_parts:
                if not self.folder.has(part):
                    raise self.folder.partial(part)
            for sentence, row in zip(missing, self._encode_text(missing, dtype), strict=True):
                kept[sentence] = {k: v.detach().float().cpu() for k, v in row.items()}
                self._check_finite(sentence, kept[sentence])
                cache.put(sentence, kept[sentence])
            if self.device.type == "cuda":
                torch.cuda.empty_cache()  # what the encoder held is for the UNet now
        return kept

    def _check_finite(self, sentence: str, row: Encoded) -> None:
        """What overflowed would be kept, and spoil every step of every run."""
        for name, tensor in row.items():
            if not bool(tensor.isfinite().all()):
                raise PriorError(
                    f"prior {self.name!r}: expected finite numbers from the text encoder, got "
                    f"others in {name!r} of {sentence!r}; damaged weights, or half precision that "
                    "overflowed: "
                    'then prior.text_encoder = "cpu" or prior.precision = "fp32" helps'
                )

    def _sentence(self, text: str) -> str:
        """The text as the encoder was trained to see it."""
        return text

    def _encode_text(self, sentences: list[str], dtype: torch.dtype) -> list[Encoded]:
        """Each sentence's tensors, by encoders that live no longer than this call.

        One sentence at a time: the numbers of a batch depend in their last bits on its size, which
        is how many sentences were not in the cache. It costs T5-XXL on a CPU less than twice the
        time of a batch, though its blocks are cast to float32 for each.
        """
        raise NotImplementedError

    def load(self) -> None:
        """See `Prior.load`; once."""
        if self._run is not None:
            return
        streamed = self.options.offload == "model" and self.device.type == "cuda"
        where = torch.device("cpu") if streamed else self.device
        unet = fill(self._build_unet(), self.folder, "unet", where, unet_key)
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
        elif self.device.type == "cuda" and self.options.tuned and not self.options.compile:
            from dfast.priors.fused.tune import tune

            tune(unet)
        self.unet = self._run = unet
        if self.options.compile:
            print("dfast: compiling the UNet, about a minute", file=sys.stderr, flush=True)
            self._run = torch.compile(unet, fullgraph=True, dynamic=False)

    def _build_unet(self) -> Any:
        return build_unet(self.folder, self.dtype)

    def meta_parts(self) -> dict[str, nn.Module]:
        """The networks of a step as they will be loaded, on the meta device: shapes, no memory."""
        return {"unet": self._build_unet()}

    def text_bytes(self) -> int:
        """Bytes of the text encoders as stored; 0 if they are not there."""
        parts = [p for p in self.text_parts if p.startswith("text_encoder") and self.folder.has(p)]
        return sum(self.folder.weights(part).bytes for part in parts)

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
        """See `Prior.predict_noise`. Text of these models does not speak of texture."""
        if not conditions or not set(conditions) <= set(self.conditions):
            raise PriorError(
                f"conditions: expected some of {', '.join(self.conditions)}, got {conditions!r}"
            )
        self.load()
        n, channels = len(conditions), noisy.shape[1]
        batch = noisy.shape[0]
        weights = torch.cat(
            [_weights(role, condition.views, cameras, noisy) for role in conditions]
        )
        rows = {k: v.to(self.dtype) for k, v in condition.rows(weights).items()}
        seen = noisy.repeat(n, 1, 1, 1)
        half = seen.to(self.dtype, memory_format=self.layout)
        # Learned-variance models say eps first, then the variance.
        output = self._denoise(half, t.repeat(n), rows).float()[:, :channels]
        eps = self.schedule.eps(output, seen, t.repeat(n))
        return eps.view(n, batch, *noisy.shape[1:])

    def _denoise(self, noisy: Tensor, t: Tensor, rows: dict[str, Tensor]) -> Tensor:
        """The UNet's output [N,C',h,w]."""
        assert self._run is not None
        return self._run(noisy, t, rows["hidden"], return_dict=False)[0]


def _weights(role: Condition, views: str, cameras: CameraBatch | None, like: Tensor) -> Tensor:
    """[B,SENTENCES] float32: how much of each sentence a role has for each camera."""
    batch = like.shape[0]
    rows = torch.arange(SENTENCES, device=like.device)
    fixed = {"negative": NEGATIVE, "null": NULL}
    if role in fixed or (role == "text" and (cameras is None or views == "none")):
        return (rows == fixed.get(role, BARE)).float().expand(batch, -1)
    if cameras is None:
        raise PriorError(f"prior: expected cameras for the role {role!r}, got None")
    azimuth, elevation = cameras.azimuth, cameras.elevation
    if role == "text" and views == "camera":
        blend = view_rules.view_weights(azimuth, elevation).float()
        return torch.cat([blend.new_zeros(batch, VIEWED), blend, blend.new_zeros(batch, 2)], -1)
    if role == "text":
        word = view_index(azimuth, elevation)
    else:
        word = view_rules.against(azimuth)[("perp_neg_front", "perp_neg_side").index(role)]
    return (rows == VIEWED + word[:, None]).float()
