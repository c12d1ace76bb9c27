"""What the trainer asks of a diffusion model, and nothing more."""

from __future__ import annotations

from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from dfast.scene.cameras import CameraBatch

PromptEmbedding = Any
"""Whatever `Prior.encode_prompt` made of a prompt; only the prior that made it looks inside."""

Condition = Literal["text", "negative", "null", "perp_neg_front", "perp_neg_side"]
"""What a noise prediction is conditioned on.

"text": the prompt, told the view of each camera. "negative": the negative prompt, or no words where
there is none; classifier-free guidance leads away from it. "null": no words. "perp_neg_front" and
"perp_neg_side": the prompt told the two views that Perp-Neg leads away from, see
`dfast.scene.views.against`.
"""


@runtime_checkable
class Prior(Protocol):
    """A text-conditioned diffusion model of images in model space [-1, 1].

    Methods that cannot serve a request raise `dfast.errors.PriorError` or `PromptError`, each with
    one line.

    Four members are optional:

    - `cuda_graph_safe`: True promises that `predict_noise` (and `encode`) launch the same work for equal
      shapes whatever the tensors hold, ask the host for nothing and keep nothing there: on CUDA
      they are then recorded once and replayed, and their Python runs no more. False if absent.
    - `conditions`: those that `predict_noise` knows; ("text", "negative", "null") if absent. Without a
      negative prompt every prior is asked for "negative", which is no words then.
    - `encode(image, *, linear=False)`: [B,3,image_size,image_size] in [-1, 1] to what the model
      diffuses, [B,C,h,w] float32, differentiable. linear: by a cheap approximation, for which the
      image may also be [B,3,h,w]. The image itself if absent.
    - `load()`: load what `predict_noise` and `encode` need, after the last `encode_prompt`, which has
      let go of what only it needed.
    """

    name: str
    """A short name for logs and run folders."""
    image_size: int
    """Pixels a side of the images it sees; the trainer resizes renders to it."""

    def noise_schedule(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(alpha [T], sigma [T]) float32 with alpha^2 + sigma^2 = 1, from clean to noise."""
        ...

    def encode_prompt(
        self, prompt: str, *, views: str = "camera", negative: str = ""
    ) -> PromptEmbedding:
        """All the text work of a run, done once.

        views: how the camera will be told: "camera" (the finest this prior knows), "words" (the
        paper's four) or "none". negative: what the pictures should not show.
        """
        ...

    def predict_noise(
        self,
        noisy: Tensor,
        t: Tensor,
        condition: PromptEmbedding,
        *,
        cameras: CameraBatch | None,
        textureless: Tensor,
        conditions: tuple[Condition, ...] = ("text",),
    ) -> Tensor:
        """The noise seen in `noisy` under each role, [len(conditions),B,C,h,w] float32, with no graph.

        noisy [B,C,h,w] float32 = alpha x + sigma eps; t [B] int64; cameras: B views or None;
        textureless [B] bool: the picture shows the shape in white. Nothing is guided here: how the
        predictions are put together is for `dfast.guidance.sds`.
        """
        ...
