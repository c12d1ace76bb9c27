"""How meshes are lit in training: as fields are, by a point light and ambient light."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize

from dfast.render.mesh import Fragments, Shader
from dfast.scene.lighting import Lighting


def lambert(lighting: Lighting) -> Shader:
    """Return the shader of a rough surface, see `dfast.scene.lighting`.

    It computes rho (diffuse max(0, n . l) + ambient) in display space, as `dfast.ops.shade` does
    for the samples of a field. Differentiable in colours, positions and normals.

    Args:
        lighting: of B images.
    """
    light, ambient, diffuse, white = (
        per_image(values)
        for values in (
            lighting.light_position,
            lighting.ambient,
            lighting.diffuse,
            lighting.textureless,
        )
    )

    def shade(seen: Fragments) -> Tensor:
        albedo = seen.color[..., :3]
        cosine = (seen.normal * normalize(light - seen.position, dim=-1)).sum(-1, keepdim=True)
        return (albedo + white * (1.0 - albedo)) * (diffuse * cosine.clamp(min=0.0) + ambient)

    return shade


def per_image(values: Tensor) -> Tensor:
    """Return values [B] or [B, C] of images as [B, 1, 1, C], to be used with their pixels."""
    return values.view(len(values), 1, 1, -1)
