"""What differs between families of transformers, as one table.

Transformers of diffusers share an idea and little else: how a noise level is written, the sign of
the output, how latents are packed, which layer of which text encoder is read, what becomes of
padding. Every such convention is a field here, so that one class serves all families.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from dfast.priors.loading.compatibility import (
    CLIP,
    GEMMA2,
    QWEN3,
    QWEN25_VL,
    T5,
    T5GEMMA,
    UMT5,
    TextEncoderKind,
)
from dfast.priors.pipelines.calls import (
    PATCH,
    call_frames,
    call_grid,
    call_packed,
    call_patches,
    call_video,
)

Call = Callable[[Any, Tensor, Tensor, Mapping[str, Any]], Tensor]
"""Calls a transformer with (network, noisy [N, C, h, w], time [N], other arguments by name)."""


@dataclass(frozen=True)
class TextPart:
    """One text encoder of a family, and how its pipeline reads it."""

    cls: str
    """in transformers"""
    kind: TextEncoderKind
    length: int
    """tokens that a sentence is padded to"""
    part: str = "text_encoder"
    tokenizer: str = "tokenizer"
    layers: tuple[int, ...] = (-1,)
    """hidden states that are read, side by side; -1 is the output"""
    masked: bool = True
    """whether the encoder is told which tokens are padding"""
    pooled: bool = False
    """whether its first output, one vector for the sentence, is read as well"""
    width: str = ""
    """key of the transformer's configuration: the width of what is read; "" if it has none"""
    chat: Mapping[str, bool] | None = None
    """options of the tokenizer's chat template, into which a sentence is put; None for none"""
    template: str = "{}"
    """what is around a sentence, in the place of {}; the length is without it"""
    dropped: int = 0
    """tokens at the beginning of the template that are not read"""


@dataclass(frozen=True)
class Conventions:
    """How the transformer of one family is called."""

    family: str
    transformer: str
    """class in diffusers"""
    last: str
    """name of the last layer, which runs in float32"""
    text: tuple[TextPart, ...]
    call: Call = call_grid
    arguments: Mapping[str, str] = field(
        default_factory=lambda: {"hidden": "encoder_hidden_states"}
    )
    """of the transformer, by the name of what the text encoders gave"""
    constants: Mapping[str, Any] = field(default_factory=dict)
    """arguments of the transformer that are always the same"""
    time: Literal["steps", "one", "reversed"] = "steps"
    """how a noise level is written: T sigma, sigma, or 1 - sigma"""
    flow: bool = True
    """whether it is a flow, which predicts a velocity"""
    negated: bool = False
    """whether the output is x - eps instead of eps - x"""
    prefix: str = ""
    """before the prompt, but not before the negative or the empty one"""
    cut_prefix: bool = False
    """whether the tokens of the prefix are dropped after encoding, except for the first"""
    zeroed: bool = False
    """whether padding of the text is zeros that the transformer sees"""
    lowercase: bool = False
    """whether sentences are made lower case, without white space at their ends"""
    shift_by: Literal["patches", "channels", "empirical"] = "patches"
    """what decides a dynamic shift: the tokens of the image; the channels of its latents, as the
    pipeline has it; or the tokens by the pipeline's own fit"""
    sample_size: int = 128
    """cells a side of the latents, if the folder does not say"""
    patch: int = 2
    """cells a side of a token, if the folder does not say"""
    packed: int = 1
    """cells a side whose channels the transformer takes as those of one"""
    half: torch.dtype = torch.bfloat16
    """precision on CUDA by default"""
    recorded: bool = True
    """whether a call moves nothing between host and device, such as the lengths of texts"""

    @property
    def masked(self) -> bool:
        """Return whether the transformer is told which tokens of the text are padding."""
        return "mask" in self.arguments

    @property
    def text_length(self) -> int:
        """Return the tokens of text in a call; encoders with a pooled output lie side by side."""
        pooled = max((part.length for part in self.text if part.pooled), default=0)
        return pooled + sum(part.length for part in self.text if not part.pooled)


SANA_INSTRUCTION = "\n".join(
    (
        "Given a user prompt, generate an 'Enhanced prompt' that provides detailed visual "
        "descriptions suitable for image generation. Evaluate the level of detail in the user "
        "prompt:",
        "- If the prompt is simple, focus on adding specifics about colors, shapes, sizes, "
        "textures, and spatial relationships to create vivid and concrete scenes.",
        "- If the prompt is already detailed, refine and enhance the existing details slightly "
        "without overcomplicating.",
        "Here are examples of how to transform or refine prompts:",
        "- User Prompt: A cat sleeping -> Enhanced: A small, fluffy white cat curled up in a round "
        "shape, sleeping peacefully on a warm sunny windowsill, surrounded by pots of blooming red "
        "flowers.",
        "- User Prompt: A busy city street -> Enhanced: A bustling city street scene at dusk, "
        "featuring glowing street lamps, a diverse crowd of people in colorful clothing, and a "
        "double-decker bus passing by towering glass skyscrapers.",
        "Please generate only the enhanced description for the prompt below and avoid including "
        "any additional commentary or evaluations:",
        "User Prompt: ",
    )
)
LUMINA_SYSTEM = (
    "You are an assistant designed to generate superior images with the superior degree of "
    "image-text alignment based on textual prompts or user prompts. <Prompt Start> "
)
QWEN_IMAGE_TEMPLATE = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, "
    "quantity, text, spatial relationships of the objects and background:<|im_end|>\n"
    "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
_QWEN25_VL = "models.qwen2_5_vl.modeling_qwen2_5_vl.Qwen2_5_VLTextModel"
_T5GEMMA = "models.t5gemma.modeling_t5gemma.T5GemmaEncoder"
_MASKED = {"hidden": "encoder_hidden_states", "mask": "encoder_attention_mask"}

CONVENTIONS = {
    made.family: made
    for made in (
        Conventions(
            "pixart",
            "PixArtTransformer2DModel",
            last="proj_out",
            text=(TextPart("T5EncoderModel", T5, 300, width="caption_channels"),),
            arguments=_MASKED,
            constants={"added_cond_kwargs": {"resolution": None, "aspect_ratio": None}},
            flow=False,
            lowercase=True,
            half=torch.float16,
        ),
        Conventions(
            "sd3",
            "SD3Transformer2DModel",
            last="proj_out",
            text=(
                TextPart(
                    "CLIPTextModelWithProjection", CLIP, 77, layers=(-2,), masked=False, pooled=True
                ),
                TextPart(
                    "CLIPTextModelWithProjection", CLIP, 77, "text_encoder_2", "tokenizer_2",
                    layers=(-2,), masked=False, pooled=True,
                ),
                TextPart(
                    "T5EncoderModel", T5, 256, "text_encoder_3", "tokenizer_3", masked=False,
                    width="joint_attention_dim",
                ),
            ),
            arguments={"hidden": "encoder_hidden_states", "pooled": "pooled_projections"},
            half=torch.float16,
        ),
        Conventions(
            "sana",
            "SanaTransformer2DModel",
            last="proj_out",
            text=(TextPart("Gemma2Model", GEMMA2, 300, width="caption_channels"),),
            arguments=_MASKED,
            prefix=SANA_INSTRUCTION,
            cut_prefix=True,
            lowercase=True,
            sample_size=32,
            patch=1,
        ),
        Conventions(
            "lumina2",
            "Lumina2Transformer2DModel",
            last="norm_out.linear_2",
            text=(TextPart("Gemma2Model", GEMMA2, 256, layers=(-2,), width="cap_feat_dim"),),
            arguments=_MASKED,
            time="reversed",
            negated=True,
            prefix=LUMINA_SYSTEM,
            shift_by="channels",
            recorded=False,
        ),
        Conventions(
            "z-image",
            "ZImageTransformer2DModel",
            last="all_final_layer.2-1.linear",
            text=(
                TextPart(
                    "Qwen3Model", QWEN3, 512, layers=(-2,), width="cap_feat_dim",
                    chat={"enable_thinking": True},
                ),
            ),
            call=call_frames,
            arguments={"hidden": "cap_feats", "mask": "mask"},
            time="reversed",
            negated=True,
            recorded=False,
        ),
        Conventions(
            "flux2",
            "Flux2Transformer2DModel",
            last="proj_out",
            text=(
                TextPart(
                    "Qwen3Model", QWEN3, 512, layers=(9, 18, 27), width="joint_attention_dim",
                    chat={"enable_thinking": False},
                ),
            ),
            call=call_packed,
            constants={"guidance": None},
            time="one",
            shift_by="empirical",
            sample_size=64,
            patch=1,
        ),
        Conventions(
            "prx",
            "PRXTransformer2DModel",
            last="final_layer.linear",
            text=(TextPart(_T5GEMMA, T5GEMMA, 256, width="context_in_dim"),),
            arguments={"hidden": "encoder_hidden_states", "mask": "attention_mask"},
            time="one",
            lowercase=True,
            sample_size=64,
        ),
        Conventions(
            "qwen-image",
            "QwenImageTransformer2DModel",
            last="proj_out",
            text=(
                TextPart(
                    _QWEN25_VL, QWEN25_VL, 512, width="joint_attention_dim",
                    template=QWEN_IMAGE_TEMPLATE, dropped=34,
                ),
            ),
            call=call_patches,
            arguments={
                "hidden": "encoder_hidden_states", "mask": "encoder_hidden_states_mask",
            },
            time="one",
            packed=PATCH,
            recorded=False,
        ),
        Conventions(
            "wan",
            "WanTransformer3DModel",
            last="proj_out",
            text=(TextPart("UMT5EncoderModel", UMT5, 512, width="text_dim"),),
            call=call_video,
            zeroed=True,
            sample_size=60,
        ),
    )
}  # fmt: skip
"""By the name of the family."""
