"""From a logit to a density, and the blob that an object grows from; for every kind of field."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import softplus

from dfast.ops.field_spec import Activation, Blob, exp_limit


class DensityHead(Protocol):
    """What the spec of a field says of its density; see `dfast.ops.field_spec.FieldSpec`."""

    @property
    def activation(self) -> Activation:
        """Of the logit."""

    @property
    def blob(self) -> Blob:
        """Kind of the bump."""

    @property
    def blob_height(self) -> float:
        """At the origin."""

    @property
    def blob_width(self) -> float:
        """> 0, world units."""


def activated(head: DensityHead, logit: Tensor) -> Tensor:
    """Return the activation of logits, >= 0."""
    if head.activation == "exp":
        return torch.exp(logit.clamp(max=exp_limit()))
    return softplus(logit)


def activated_slope(head: DensityHead, logit: Tensor) -> Tensor:
    """Return the derivative of `activated`; differentiable."""
    if head.activation == "exp":
        return torch.where(logit < exp_limit(), activated(head, logit), 0.0)
    return torch.sigmoid(logit)


def blob(head: DensityHead, x: Tensor) -> Tensor:
    """Return the initial blob of a field, [N] at x [N, 3]."""
    if head.blob == "gaussian":
        return head.blob_height * torch.exp(x.square().sum(-1) * (-0.5 / head.blob_width**2))
    if head.blob == "linear":
        return head.blob_height * (1.0 - x.norm(dim=-1) / head.blob_width)
    return torch.zeros_like(x[:, 0])


def blob_gradient(head: DensityHead, x: Tensor) -> Tensor:
    """Return grad_x of `blob`, [N, 3]; 0 at the origin."""
    if head.blob == "gaussian":
        return x * (blob(head, x) / -(head.blob_width**2))[:, None]
    if head.blob == "linear":
        unit = x / x.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        return unit * (-head.blob_height / head.blob_width)
    return torch.zeros_like(x)
