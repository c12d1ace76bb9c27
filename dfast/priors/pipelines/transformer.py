"""Priors whose network is a transformer: one class for all families of `CONVENTIONS`.

Most are flows, whose network predicts a velocity; PixArt-Sigma predicts noise.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from dfast.config import PriorConfig
from dfast.errors import DfastWarning, PriorError
from dfast.ops.ambient import neutral_torch_state
from dfast.priors.flow_schedule import dynamic_mu, empirical_mu
from dfast.priors.loading.compatibility import check_encoder
from dfast.priors.loading.embedding_cache import EncodedSentence
from dfast.priors.loading.folder import INDEX, Folder
from dfast.priors.loading.headers import MAX_COUNTS
from dfast.priors.loading.loader_errors import calls_of
from dfast.priors.loading.networks import build_transformer, transformer_key
from dfast.priors.loading.quiet import quiet
from dfast.priors.loading.text_encoders import (
    load_tokenizer,
    one_at_a_time,
    tokenize,
)
from dfast.priors.loading.weights import load_weights
from dfast.priors.noise_schedule import NoiseSchedule
from dfast.priors.pipelines.conventions import Conventions, TextPart
from dfast.priors.pipelines.stable_diffusion import StableDiffusion
from dfast.priors.pipelines.text import NEGATIVE_ROW

DISTILLED = ("turbo", "lightning", "schnell", "distill", "sprint", "lcm", "hyper")
"""Parts of names of weights that were distilled from guided ones, whose configuration is silent."""


class TransformerPrior(StableDiffusion):
    """A `Prior` of the folder of a pipeline with a transformer, see `TextPrior`.

    Attributes:
        conventions: how the transformer is called.
        encoders: those text encoders of the family that the folder has.
    """

    denoiser = "transformer"
    vae_overflows = True

    def __init__(
        self, folder: Folder, device: torch.device, options: PriorConfig, conventions: Conventions
    ) -> None:
        """Read the small files, see `TextPrior`.

        Args:
            folder: of a pipeline of this family.
            device: where the networks will run.
            options: how they are loaded and run.
            conventions: of the family.

        Raises:
            PriorError: if the folder is incomplete or damaged, its parts do not match, or an option
                is none for transformers.
        """
        self.conventions, self.family = conventions, conventions.family
        self.flow = conventions.flow
        listed, optional = folder.listed(), ("text_encoder_3",)  # read as zeros without it
        self.encoders = [p for p in conventions.text if p.part in listed or p.part not in optional]
        self.text_parts = tuple(name for p in self.encoders for name in (p.part, p.tokenizer))
        self.default_sample_size = conventions.sample_size
        self.text_half = self.half = conventions.half
        super().__init__(folder, device, options)
        self.image_size = options.image_size or self._pixels() or self.image_size
        self.layout = torch.contiguous_format
        self.cuda_graph_safe = self.cuda_graph_safe and conventions.recorded
        sides = folder.numbers("transformer", "patch_size", conventions.patch)
        self.patch = max(1, int(sides[-1]))  # of a video, time comes first
        if self.image_size % (step := self.patch * self.latents.factor):
            raise PriorError(
                f"prior.image_size: expected a multiple of {step}, got {self.image_size}"
            )
        # Only now is the size of the image known, on which the shift may depend.
        self.schedule = NoiseSchedule(
            folder.read("scheduler", "scheduler_config.json"), self.name, self._shift
        )
        self._time_scale = folder.number("transformer", "timestep_scale", 1.0)
        self._check_options()
        self._warn_of_distilled()

    def _latent_channels(self) -> int:
        return super()._latent_channels() // self.conventions.packed**2

    def _pixels(self) -> int:
        """Return the pixels a side that the index names, as that of PRX does; 0 if none."""
        pixels = self.folder.read(INDEX).get("default_sample_size")
        return pixels if type(pixels) is int and 0 < pixels <= MAX_COUNTS["sample_size"] else 0

    def _shift(self, config: Mapping[str, Any]) -> float:
        """Return the dynamic shift of a schedule for images of this size."""
        tokens = (self.latent_size // self.patch) ** 2
        if self.conventions.shift_by == "empirical":
            return empirical_mu(tokens)
        by_channels = self.conventions.shift_by == "channels"
        return dynamic_mu(config, self.latents.channels if by_channels else tokens)

    def _check_options(self) -> None:
        """Raise PriorError for options that no transformer, or not this one, can follow."""
        refused = ["attention_slicing"]
        if not self.conventions.recorded:
            refused.append("compile")
        for key in refused:
            if getattr(self.options, key):
                raise PriorError(f"prior.{key}: expected false with {self.name!r}, got true")

    def _warn_of_distilled(self) -> None:
        """Warn of weights whose names, not their configuration, say that they are distilled."""
        paths = (self.name, self.unet_config.get("_name_or_path"))
        names = [str(path).rstrip("/").split("/")[-1].lower() for path in paths]
        found = [mark for mark in DISTILLED if any(mark in name for name in names)]
        if found:
            warnings.warn(
                f"prior {self.name!r}: its name ({found[0]}) says that its guidance was distilled; "
                "such weights have no true unconditional branch, and guide poorly",
                DfastWarning,
                stacklevel=2,
            )

    # Text

    def _check_text_parts(self) -> None:
        """Raise PriorError unless the text encoders fit their tokenizers and the transformer."""
        for text in self.encoders:
            folder = self.folder
            width = check_encoder(
                folder, text.kind, text.part, text.tokenizer, text.length, other="transformer"
            )
            if width is None or not text.width:
                continue
            total = int(width) * len(text.layers)
            if (wanted := folder.number("transformer", text.width, total)) != total:
                raise folder.mismatch_error(
                    text.part, text.kind.width, wanted // len(text.layers), width,
                    other="transformer",
                )  # fmt: skip

    def _sentences(self, prompt: str, negative: str) -> list[str]:
        sentences = super()._sentences(prompt, negative)
        prefix = self.conventions.prefix
        positive = [prefix + sentence for sentence in sentences[:NEGATIVE_ROW]]
        return [*positive, *sentences[NEGATIVE_ROW:]]

    def _format_sentence(self, text: str) -> str:
        return text.lower().strip() if self.conventions.lowercase else text

    def _tokenize(self, part: str, sentences: list[str]) -> list[tuple[Tensor, Tensor]]:
        text = next(e for e in self.encoders if e.tokenizer == part)
        tokenizer = load_tokenizer(self.folder, part, text.kind.tokenizer)
        with calls_of(self.folder, part, self.device):
            if text.chat is not None:
                sentences = [_as_chat(tokenizer, sentence, text.chat) for sentence in sentences]
            prefix, cut = self.conventions.prefix, self.conventions.cut_prefix
            with quiet():  # the first token and the last are counted in both
                more = len(tokenizer.encode(prefix)) - 2 if cut else 0
            rows = []
            for sentence in sentences:
                length = text.length + (more if cut and sentence.startswith(prefix) else 0)
                whole = text.template.replace("{}", sentence)
                rows += tokenize(tokenizer, [whole], text.dropped + length)
        self._check_tokens(part, rows)
        return rows

    def _encode_text(self, sentences: list[str], dtype: torch.dtype) -> list[EncodedSentence]:
        encoded = [self._encode_by(text, sentences, dtype) for text in self.encoders]
        return [self._join(list(rows)) for rows in zip(*encoded, strict=True)]

    def _encode_by(
        self, text: TextPart, sentences: list[str], dtype: torch.dtype
    ) -> list[EncodedSentence]:
        """Return what one text encoder says of sentences; "mask" marks their tokens."""
        tokens = self._tokenize(text.tokenizer, sentences)
        found = list[EncodedSentence]()
        with self._text_encoder(text.part, text.cls, dtype) as model:
            for ids, mask in one_at_a_time(model, tokens):
                inner = text.layers != (-1,)
                output = model(
                    input_ids=ids,
                    attention_mask=mask if text.masked else None,
                    output_hidden_states=inner,
                )
                mask = mask[:, text.dropped :]
                read = [output.hidden_states[i] for i in text.layers] if inner else [output[0]]
                row = {"hidden": torch.cat(read, -1)[0, text.dropped :]}
                if text.pooled:
                    row["pooled"] = output[0][0]
                if self.conventions.masked or self.conventions.zeroed:
                    row = _without_padding(row["hidden"], mask[0], text.length)
                if self.conventions.zeroed:
                    del row["mask"]
                found.append({name: value.float().cpu() for name, value in row.items()})
        return found

    def _join(self, rows: list[EncodedSentence]) -> EncodedSentence:
        """Return one sentence as the transformer reads it, from what each encoder says of it.

        In Stable Diffusion 3 the states of two CLIPs lie side by side, padded to the width of T5,
        and those of T5 follow.
        """
        if len(self.conventions.text) == 1:
            return rows[0]
        clips = [row for row in rows if "pooled" in row]
        side_by_side = torch.cat([row["hidden"] for row in clips], -1)
        last = self.conventions.text[-1]
        shape = last.length, int(self.folder.number("transformer", last.width, 4096))
        after = torch.zeros(shape) if len(rows) == len(clips) else rows[-1]["hidden"]
        padded = pad(side_by_side, (0, shape[1] - side_by_side.shape[-1]))
        pooled = torch.cat([row["pooled"] for row in clips], -1)
        return {"hidden": torch.cat([padded, after]), "pooled": pooled}

    # Networks

    def _build_unet(self) -> Any:
        made = self.conventions
        return build_transformer(self.folder, made.transformer, made.last, self.dtype)

    def _load_unet(self, device: torch.device) -> Any:
        key = transformer_key(self.conventions.last)
        return load_weights(self._build_unet(), self.folder, "transformer", device, key)

    def _tuned(self) -> bool:
        return False  # dfast's kernels are those of UNets

    @neutral_torch_state(keep_grad=True)
    def cost_parts(self) -> dict[str, nn.Module]:
        """Return the networks of a step on the meta device, if they can be called there."""
        parts = super().cost_parts() if self.conventions.recorded else {}
        return {name: part.to("meta") for name, part in parts.items()}

    def _denoise(self, noisy: Tensor, t: Tensor, text: dict[str, Tensor]) -> Tensor:
        made, time = self.conventions, self.schedule.time(t)
        if made.time != "steps":
            time = time / len(self.schedule.sigma)
        time = (1.0 - time if made.time == "reversed" else time) * self._time_scale
        if "mask" in text:  # a token of any of the sentences that are blended
            text = text | {"mask": text["mask"] > 0}
        texts = {made.arguments[name]: value for name, value in text.items()}
        output = made.call(self._network, noisy, time, {**texts, **made.constants})
        return -output if made.negated else output


def _as_chat(tokenizer: Any, sentence: str, options: Mapping[str, bool]) -> str:
    """Return a sentence as a user's turn of a chat that the model is about to answer."""
    turn = [{"role": "user", "content": sentence}]
    made: str = tokenizer.apply_chat_template(
        turn, tokenize=False, add_generation_prompt=True, **options
    )
    return made


def _without_padding(hidden: Tensor, mask: Tensor, length: int) -> EncodedSentence:
    """Return the states of a sentence, with zeros for padding, and its mask.

    Zeros let sentences of different lengths be blended: a token that one lacks counts for nothing
    in it. Of a sentence that is longer by a prefix, the first token and the last are kept.
    """
    if len(hidden) > length:
        keep = torch.cat([hidden.new_zeros(1).long(), torch.arange(-length + 1, 0).to(mask.device)])
        hidden, mask = hidden[keep], mask[keep]
    return {"hidden": hidden * mask[:, None].to(hidden.dtype), "mask": mask.float()}
