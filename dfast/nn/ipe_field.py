"""An integrated positional encoding and a residual MLP, from a point to density and albedo.

This is the field of DreamFusion (Poole et al. 2022, arXiv 2209.14988, appendix A): the encoding of
mip-NeRF 360 and an MLP of residual blocks. It is plain torch, and much slower than
`dfast.nn.Field`. The gradient behind the normal is a reverse pass written out, so that ordinary
autograd through it is the exact second order (docs/math.md, "The field of DreamFusion").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dfast._native import vectors, whole_number
from dfast.nn.density import activated, activated_slope, blob, blob_gradient
from dfast.nn.integrated_encoding import Basis, basis, encoding_slope, integrated_encoding
from dfast.nn.radiance_field import RadianceField
from dfast.ops import transforms
from dfast.ops.field_spec import OUTPUTS, Activation, Blob, FieldSample

CHUNK, PIECE = 1 << 13, 1 << 16
"""Points at once where no gradient is kept: what lies between the layers fits into a cache; and
where one is: 49 KB each in the field of DreamFusion, computed again in the backward pass."""
NORM_EPS = 1e-6
"""Added to the variance in a layer normalisation, as in Flax."""


@dataclass(frozen=True)
class IPESpec:
    """The shape of the field.

    Args:
        frequencies: number of frequencies, 1 to 16; each is twice the one before.
        base_frequency: the lowest, radians per world unit, > 0.
        directions: along which points are encoded, see `dfast.nn.integrated_encoding.basis`.
        width: width of the MLP, 2 to 1024.
        blocks: number of residual blocks, 0 to 32.
        activation: activation of the density's logit.
        density_scale: factor of the density, > 0.
        density_bias: added to the density's logit.
        blob: bump from which the object grows, see `dfast.ops.field_spec.FieldSpec`.
        blob_height: height of the bump.
        blob_width: width of the bump, > 0, world units.
        blob_on: whether the bump is added to the logit, or to the activated logit; then it must be
            gaussian or none.

    Raises:
        ValueError: naming the member that is out of range.
    """

    frequencies: int = 8
    base_frequency: float = 1.0
    directions: Basis = "icosahedron"
    width: int = 128
    blocks: int = 5
    activation: Activation = "exp"
    density_scale: float = 1.0
    density_bias: float = 0.0
    blob: Blob = "none"
    blob_height: float = 0.0
    blob_width: float = 1.0
    blob_on: Literal["logit", "density"] = "logit"

    def __post_init__(self) -> None:
        for name, low, high in (("frequencies", 1, 16), ("width", 2, 1024), ("blocks", 0, 32)):
            whole_number(name, getattr(self, name), low, high)
        choices = {"directions": Basis, "activation": Activation, "blob": Blob}
        kinds = {name: get_args(choice) for name, choice in choices.items()}
        for name, known in {**kinds, "blob_on": ("logit", "density")}.items():
            if getattr(self, name) not in known:
                expected = " or ".join(map(repr, known))
                raise ValueError(f"{name} must be {expected}, got {getattr(self, name)!r}")
        for name in ("base_frequency", "density_scale", "blob_width"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be positive and finite, got {value}")
        if self.blob_on == "density" and self.blob == "linear":
            raise ValueError("blob must be 'gaussian' or 'none' with blob_on 'density'")

    @property
    def inputs(self) -> int:
        """Width of the encoding."""
        return 2 * self.frequencies * len(basis(self.directions))

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the MLP's parameters: W [out, in] and b of the first layer; for each block gain
        and shift of its normalisation, then W and b of two layers; gain, shift, W and b of the
        last layer."""
        w = self.width
        block = ((w,), (w,), (w, w), (w,), (w, w), (w,))
        return ((w, self.inputs), (w,), *block * self.blocks, (w,), (w,), (OUTPUTS, w), (OUTPUTS,))

    @property
    def parameters(self) -> int:
        """Number of parameters of the MLP."""
        return sum(map(math.prod, self.shapes))

    def split(self, mlp: Tensor) -> list[Tensor]:
        """Return views of a flat mlp [parameters] in the order and of the shapes of `shapes`."""
        parts = mlp.split([math.prod(shape) for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]


class _Normalised(NamedTuple):
    """A layer normalisation before gain and shift, and what its reverse pass needs."""

    value: Tensor
    """[N, W] of mean 0 and variance 1"""
    scale: Tensor
    """[N, 1], one over the standard deviation"""

    @classmethod
    def of(cls, h: Tensor) -> _Normalised:
        """Normalise the rows of h [N, W]."""
        centred = h - h.mean(-1, keepdim=True)
        scale = torch.rsqrt(centred.square().mean(-1, keepdim=True) + NORM_EPS)
        return cls(centred * scale, scale)

    def reverse(self, a: Tensor) -> Tensor:
        """Return J^T a for a [N, W]."""
        along = (a * self.value).mean(-1, keepdim=True)
        return (a - a.mean(-1, keepdim=True) - self.value * along) * self.scale


class IPEField(RadianceField):
    """Density and albedo as a function of position, with the density's gradient for normals.

    Points are world points. Under autocast the field still computes and returns the dtype of its
    parameters.

    >>> field = IPEField(IPESpec(width=16, blocks=1))
    >>> density, albedo, _ = field(torch.rand(2, 5, 3))
    >>> list(density.shape), list(albedo.shape)
    ([2, 5], [2, 5, 3])

    Attributes:
        spec: shape of the encoding and the MLP, and the density head.
        mlp: [P] all parameters, see `IPESpec.split`.
    """

    def __init__(
        self,
        spec: IPESpec | None = None,
        *,
        normals: Literal["analytic", "finite"] = "analytic",
        finite_step: float = 0.01,
        generator: torch.Generator | None = None,
    ) -> None:
        """Make a field with random parameters.

        Args:
            spec: its shape; None for the defaults of `IPESpec`.
            normals: how the gradient is computed: exactly, or by central differences.
            finite_step: half the stencil of the central differences, in world units.
            generator: draws the parameters, on the host.
        """
        super().__init__()
        self.spec = spec = IPESpec() if spec is None else spec
        self.normals, self.finite_step = normals, finite_step
        self.mlp = nn.Parameter(torch.empty(spec.parameters, dtype=torch.float32))
        octaves = 2.0 ** torch.arange(spec.frequencies, dtype=torch.float32)
        self.register_buffer("_frequencies", spec.base_frequency * octaves, persistent=False)
        self.register_buffer("_directions", basis(spec.directions).float(), persistent=False)
        self._frequencies: Tensor
        self._directions: Tensor
        self.reset(generator)

    @property
    def resolutions(self) -> tuple[float, ...]:
        """Twice the angular frequencies: 1 / f fits that often into [-1, 1]."""
        return tuple(
            2.0 * self.spec.base_frequency * 2.0**level for level in range(self.spec.frequencies)
        )

    @torch.no_grad()
    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw new parameters, on the host, so that they are the same on every device."""
        parts = self.spec.split(self.mlp)
        for index, part in enumerate(parts):
            if part.dim() == 2:
                self._draw(part, math.sqrt(6.0 / part.shape[1]), generator)  # He et al. 2015
            else:
                part.fill_(1.0 if self._is_gain(index) else 0.0)

    def _is_gain(self, index: int) -> bool:
        """Whether a part of the parameters is the gain of a normalisation."""
        return index >= 2 and (index - 2) % 6 == 0

    def forward(
        self,
        x: Tensor,
        *,
        level_weights: Tensor | None = None,
        want_gradient: bool = False,
        count: Tensor | None = None,
    ) -> FieldSample:
        """Return density and albedo at points and, if `want_gradient`, the density's gradient.

        Differentiable in every parameter through all results; x is a constant.

        Args:
            x: [..., 3] world points.
            level_weights: [L] in [0, 1], factors of the frequencies; None for all ones.
            want_gradient: whether to compute the gradient of the density's logit or, where the
                blob is added to the density, of its logarithm.
            count: int64 [1] or None: how many of N points [N, 3] there really are. Rows of the
                results past it are zeros, whatever their gradients hold.

        Returns:
            density [...], albedo [..., 3] and gradient [..., 3] or None.
        """
        if transforms.autocast_enabled(x):
            with torch.autocast(x.device.type, enabled=False):
                options = {"level_weights": level_weights, "want_gradient": want_gradient}
                return self(x, count=count, **options)
        shape = vectors("x", x, 3).shape[:-1]
        x = transforms.constant(x).reshape(-1, 3).to(self.mlp.dtype)
        weights = None if level_weights is None else level_weights.to(self.mlp.dtype)
        if count is None:
            sample = self._in_pieces(x, weights, want_gradient)
        else:  # points past it may hold anything, and so may the gradients of their results
            real = (torch.arange(len(x), device=x.device) < count)[:, None]
            x = torch.where(real, x, 0.0)
            sample = self._in_pieces(x, weights, want_gradient).where(real)
        density, albedo, gradient = sample
        gradient = None if gradient is None else gradient.view(*shape, 3)
        return FieldSample(density.view(shape), albedo.view(*shape, 3), gradient)

    def _in_pieces(self, x: Tensor, weights: Tensor | None, want_gradient: bool) -> FieldSample:
        """Return `_sample` at x [N, 3], in pieces that bound the memory."""
        rest = (weights, want_gradient, self.mlp)
        if not torch.is_grad_enabled():
            return _joined([self._sample(some, *rest) for some in x.split(CHUNK)])
        if len(x) <= PIECE:
            return self._sample(x, *rest)
        again = partial(checkpoint, self._sample, use_reentrant=False, preserve_rng_state=False)
        return _joined([again(some, *rest) for some in x.split(PIECE)])

    def _sample(
        self, x: Tensor, weights: Tensor | None, want_gradient: bool, mlp: Tensor
    ) -> FieldSample:
        """Return density, albedo and gradient at x [N, 3]."""
        spec, exact = self.spec, self.normals == "analytic"
        out, slope = self._network(x, weights, want_gradient and exact, mlp)
        if want_gradient and not exact:
            slope = self._finite_gradient(x, weights, mlp)
        logit, bump = out[:, 0] + spec.density_bias, blob(spec, x)
        if spec.blob_on == "logit":
            density = activated(spec, logit + bump)
            gradient = None if slope is None else slope + blob_gradient(spec, x)
        else:
            density, gradient = activated(spec, logit) + bump, None
            if slope is not None:
                rise = activated_slope(spec, logit)[:, None] * slope + blob_gradient(spec, x)
                tiny = torch.finfo(density.dtype).tiny
                gradient = rise / density.clamp(min=tiny)[:, None]
        return FieldSample(spec.density_scale * density, torch.sigmoid(out[:, 1:]), gradient)

    def _network(
        self, x: Tensor, weights: Tensor | None, want_gradient: bool, mlp: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Return the MLP's outputs [N, 4], and the gradient [N, 3] of the first one.

        A block is h + B silu(A (gain norm(h) + shift) + a) + b; the last layer reads the
        activation of the last normalisation.
        """
        first, bias, *inner, gain, shift, last, last_bias = self.spec.split(mlp)
        axes = self._directions, self._frequencies
        waves = integrated_encoding(x, *axes, weights)
        h = torch.addmm(bias, waves.flatten(1), first.t())
        blocks, passed = [inner[i : i + 6] for i in range(0, len(inner), 6)], []
        for g, s, up, up_bias, down, down_bias in blocks:
            norm = _Normalised.of(h)
            z = torch.addmm(up_bias, norm.value * g + s, up.t())
            h = h + torch.addmm(down_bias, torch.nn.functional.silu(z), down.t())
            passed.append((norm, z))
        norm = _Normalised.of(h)
        z = norm.value * gain + shift
        out = torch.addmm(last_bias, torch.nn.functional.silu(z), last.t())
        if not want_gradient:
            return out, None
        a = norm.reverse(last[0] * _silu_slope(z) * gain)
        for (g, _, up, _, down, _), (norm, z) in zip(
            reversed(blocks), reversed(passed), strict=True
        ):
            a = a + norm.reverse(((a @ down) * _silu_slope(z)) @ up * g)
        return out, encoding_slope(waves, (a @ first).view_as(waves), *axes)

    def _finite_gradient(self, x: Tensor, weights: Tensor | None, mlp: Tensor) -> Tensor:
        """Return central differences of the first output with a step: six more evaluations."""
        steps = self.finite_step * torch.eye(3, dtype=x.dtype, device=x.device)
        stencil = torch.cat([x + sign * step for step in steps for sign in (1.0, -1.0)])
        values = self._network(stencil, weights, False, mlp)[0][:, 0].view(3, 2, -1)
        return ((values[:, 0] - values[:, 1]) / (2.0 * self.finite_step)).t()


def _joined(parts: Sequence[FieldSample]) -> FieldSample:
    """Return samples one after another."""
    density, albedo, gradients = zip(*parts, strict=True)
    gradient = None if gradients[0] is None else torch.cat(gradients)
    return FieldSample(torch.cat(density), torch.cat(albedo), gradient)


def _silu_slope(z: Tensor) -> Tensor:
    """Return the derivative of z sigmoid(z); differentiable."""
    s = torch.sigmoid(z)
    return s * (1.0 + z * (1.0 - s))
