"""The interface of a diffusion prior, and the adapter for objects that only look like one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dfast.config import PriorConfig
from dfast.errors import PriorError
from dfast.scene.cameras import CameraBatch

PromptEmbedding = Any
"""What `Prior.encode_prompt` made of a prompt; only the prior that made it reads it."""

Condition = Literal["text", "negative", "null", "perp_neg_front", "perp_neg_side"]
"""What a noise prediction is conditioned on.

"text": the prompt, with the view of each camera. "negative": the negative prompt, or the empty
prompt if there is none; classifier-free guidance moves away from it. "null": the empty prompt.
"perp_neg_front" and "perp_neg_side": the prompt with the two views that Perp-Neg moves away from,
see `dfast.scene.views.perp_neg_views`.
"""


Approximation = bool | Literal["tiny"]
"""How images are encoded: False is the model's own encoder, True a linear map in its place, "tiny"
a distilled encoder."""


class Prior(ABC):
    """A text-conditioned diffusion model of images in [-1, 1].

    A subclass defines `image_size` and the three abstract methods; every other member has a
    default. Methods that cannot serve a request raise `dfast.errors.PriorError` or `PromptError`
    with a message of one line. `as_prior` accepts objects that do not inherit from this class.

    Attributes:
        name: short name for logs and run folders; the name of the class if there is none.
        image_size: pixels a side of the images that `encode_images` takes.
        family: whose settings `Config.for_prior` gives a run, such as "sd" or "sd3"; "shapes" means
            the defaults of dfast.
        options: the settings with which the prior was loaded; they become the run's. None if there
            are none.
        conditions: what `predict_noise` accepts. Without a negative prompt, "negative" means the
            empty prompt, and every prior must accept it.
        cuda_graph_safe: True promises that `predict_noise` and `encode_images` launch the same
            work for equal shapes, whatever the values, and neither read from the device nor keep
            state on the host: on CUDA they are recorded once and replayed without running Python.
        is_latent: whether the model diffuses latents, not the image itself.
        dtype: arithmetic of the network, for estimates of its speed.
        largest_scale: guidance scale w up to which `predict_guided` takes one call; 0 if it is not
            there.
        image_flops: operations of `predict_noise` for one image under one condition, to say how
            long a run takes before it begins; 0 where they are not known.
        joins_prompts: whether `join_prompts` is there.
        joint_views: how many views of an object are predicted together, n. With n > 1, B is a
            multiple of n everywhere, n neighbouring images are views of one object at one timestep,
            and their cameras stand in a ring, see `dfast.config.CameraConfig.ring`.
        tiny_until: fraction of a run, from its start, in which a distilled encoder takes the place
            of the model's own.
        lora: what LoRA files were merged into the networks and how strongly, a line each.
        untrainable: why no copy of `network` can be trained by `predict_trained`; "" if one can.
    """

    name: str = ""
    image_size: int
    family: str = "shapes"
    options: PriorConfig | None = None
    conditions: tuple[Condition, ...] = ("text", "negative", "null")
    cuda_graph_safe: bool = False
    is_latent: bool = False
    dtype: torch.dtype = torch.float32
    image_flops: float = 0.0
    largest_scale: float = 0.0
    joins_prompts: bool = False
    joint_views: int = 1
    tiny_until: float = 0.0
    lora: tuple[str, ...] = ()
    untrainable: str = "it has no network of its own"

    def __init_subclass__(cls) -> None:
        """Name the prior after its class if it has no name."""
        super().__init_subclass__()
        cls.name = cls.name or cls.__name__

    @abstractmethod
    def noise_schedule(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return (alpha [T], sigma [T]) float32 from clean to noise.

        alpha^2 + sigma^2 = 1 in a diffusion model and alpha + sigma = 1 in a flow. Guidance uses
        neither: its formulas hold for any alpha and sigma.
        """

    @abstractmethod
    def encode_prompt(
        self, prompt: str, *, views: str = "camera", negative: str = ""
    ) -> PromptEmbedding:
        """Encode all text of a run, once.

        Args:
            prompt: description of the object.
            views: view conditioning: "camera" (the finest that this prior has), "words" (the four
                views of DreamFusion, section 3.3) or "none".
            negative: the negative prompt; empty for none.

        Returns:
            What `predict_noise` takes as `condition`.
        """

    def join_prompts(self, embeddings: Sequence[PromptEmbedding]) -> PromptEmbedding:
        """Return one embedding for images of several prompts.

        Args:
            embeddings: what `encode_prompt` returned for each of R prompts.

        Returns:
            What `predict_noise` takes as `condition` of R B images: the first B are of the first
            prompt, and so on.
        """
        raise NotImplementedError(f"the prior {self.name!r} takes one prompt at a time")

    @abstractmethod
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
        """Predict the noise in `noisy` under each condition, without a graph.

        Predictions are not guided: `dfast.guidance` combines them.

        Args:
            noisy: [B, C, h, w] float32, alpha x + sigma eps.
            t: [B] int64 timesteps.
            condition: what `encode_prompt` returned.
            cameras: B views, or None without view conditioning.
            textureless: [B] bool, whether the image shows the shape in white.
            conditions: what to predict under, in this order.

        Returns:
            [len(conditions), B, C, h, w] float32.
        """

    def predict_guided(
        self,
        noisy: Tensor,
        t: Tensor,
        condition: PromptEmbedding,
        *,
        cameras: CameraBatch | None,
        textureless: Tensor,
        scale: float,
    ) -> Tensor:
        """Predict guided noise, (1 + w) eps_c - w eps_0, in one call of a distilled network.

        Args:
            noisy: [B, C, h, w] float32, alpha x + sigma eps.
            t: [B] int64 timesteps.
            condition: what `encode_prompt` returned.
            cameras: B views, or None without view conditioning.
            textureless: [B] bool, whether the image shows the shape in white.
            scale: w, at most `largest_scale`.

        Returns:
            [B, C, h, w] float32.
        """
        raise NotImplementedError(f"the prior {self.name!r} has no distilled guidance")

    def predict_trained(
        self,
        noisy: Tensor,
        t: Tensor,
        condition: PromptEmbedding,
        *,
        cameras: CameraBatch | None,
        textureless: Tensor,
    ) -> Tensor:
        """Predict the noise under the prompt, with a graph to what hooks add to `network`.

        Every linear layer of an attention is called as a module, see
        `dfast.priors.low_rank.LowRankCopy`.

        Args:
            noisy: [B, C, h, w] float32, alpha x + sigma eps.
            t: [B] int64 timesteps.
            condition: what `encode_prompt` returned.
            cameras: B views, or None without view conditioning.
            textureless: [B] bool, whether the image shows the shape in white.

        Returns:
            [B, C, h, w] float32.
        """
        raise NotImplementedError(f"the prior {self.name!r} trains no copy: {self.untrainable}")

    def encode_images(self, images: Tensor, *, approximate: Approximation = False) -> Tensor:
        """Map images to what the model diffuses; differentiable. The default is the identity.

        Args:
            images: [B, 3, image_size, image_size] in [-1, 1].
            approximate: use a cheap approximation of the encoder: True is a linear map, which also
                takes images of `latent_size` pixels a side; "tiny" is asked for until `tiny_until`.

        Returns:
            [B, C, h, w] float32.
        """
        return images

    @property
    def latent_size(self) -> int:
        """Return the cells a side of what the model diffuses."""
        return self.image_size

    def load(self) -> None:
        """Load what `predict_noise` and `encode_images` need, after the last `encode_prompt`.

        Until then a prior may hold no more than its text encoders. Calling it again does nothing.
        """
        return

    def normal_form(self, prompt: str) -> str:
        """Return a prompt in the form that all prompts of the same meaning share.

        By default only white space does not matter: published models read case and punctuation.

        Args:
            prompt: what to make.

        Raises:
            PromptError: for a prompt that the prior does not know.
        """
        return " ".join(prompt.split())

    def notes(self, prompt: str) -> tuple[str, ...]:
        """Return what is made in place of what was asked, such as "corgi: made as a dog".

        Args:
            prompt: what to make.

        Raises:
            PromptError: for a prompt that the prior does not know.
        """
        return ()

    def check_text(self, prompt: str, negative: str) -> None:
        """Raise what `encode_prompt` would raise, as far as that is known without weights."""
        return

    @property
    def network(self) -> nn.Module | None:
        """Return the module that `predict_noise` calls, if it is loaded.

        Benchmarks time it, and variational score distillation trains a copy of it.
        """
        return None

    def cost_parts(self) -> dict[str, nn.Module]:
        """Return the networks of a step on the meta device: "unet", and "vae" if there is one.

        They are run to estimate memory and time. A prior without any is timed instead.
        """
        return {}

    def weight_bytes(self) -> dict[str, int]:
        """Return the bytes of the loaded networks by name."""
        return {}

    def text_bytes(self) -> int:
        """Return the bytes of the text encoders as stored; 0 if there are none to load."""
        return 0


_REQUIRED = ("name", "image_size", "noise_schedule", "encode_prompt", "predict_noise")
_OPTIONAL = (
    "family", "options", "conditions", "cuda_graph_safe", "is_latent", "dtype", "encode_images",
    "image_flops", "joins_prompts", "join_prompts", "joint_views", "largest_scale",
    "predict_guided", "load", "untrainable", "predict_trained", "normal_form", "notes",
    "check_text", "cost_parts", "weight_bytes", "text_bytes",
)  # fmt: skip


def as_prior(candidate: Any) -> Prior:
    """Return `candidate` as a `Prior`.

    Args:
        candidate: a `Prior`, returned as it is, or an object with `name`, `image_size`,
            `noise_schedule`, `encode_prompt` and `predict_noise`. Optional members of `Prior` that
            the object has are used; the others have the defaults of `Prior`, except that an object
            with `encode_images` is latent unless it says otherwise.

    Raises:
        PriorError: if the object lacks a required member, or is a class.
    """
    missing = [name for name in _REQUIRED if not hasattr(candidate, name)]
    if missing or isinstance(candidate, type):
        is_class = isinstance(candidate, type)
        got = f"the class {candidate.__name__}" if is_class else type(candidate).__name__
        lacks = f" without {', '.join(missing)}" if missing else ""
        raise PriorError(
            "prior: expected the name of one or an object with the Prior protocol, "
            f"got {got}{lacks}"
        )
    return candidate if isinstance(candidate, Prior) else _AdaptedPrior(candidate)


class _AdaptedPrior(Prior):
    """A `Prior` that forwards to an object which does not inherit from `Prior`."""

    def __init__(self, adapted: Any) -> None:
        self.adapted = adapted
        self.name, self.image_size = adapted.name, adapted.image_size
        self.is_latent = hasattr(adapted, "encode_images")
        for name in _OPTIONAL:
            if hasattr(adapted, name):
                setattr(self, name, getattr(adapted, name))

    def noise_schedule(self, device: torch.device) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self.adapted.noise_schedule(device)
        return found

    def encode_prompt(
        self, prompt: str, *, views: str = "camera", negative: str = ""
    ) -> PromptEmbedding:
        return self.adapted.encode_prompt(prompt, views=views, negative=negative)

    def predict_noise(self, *args: Any, **options: Any) -> Tensor:
        predicted: Tensor = self.adapted.predict_noise(*args, **options)
        return predicted

    @property
    def latent_size(self) -> int:
        return getattr(self.adapted, "latent_size", self.image_size)

    @property
    def network(self) -> nn.Module | None:
        return getattr(self.adapted, "network", None)
