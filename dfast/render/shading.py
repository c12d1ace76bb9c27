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
    light, ambient, diffuse, white = light_per_image(lighting)

    def shade(seen: Fragments) -> Tensor:
        albedo = seen.color[..., :3]
        cosine = (seen.normal * normalize(light - seen.position, dim=-1)).sum(-1, keepdim=True)
        return (albedo + white * (1.0 - albedo)) * (diffuse * cosine.clamp(min=0.0) + ambient)

    return shade


def per_image(values: Tensor) -> Tensor:
    """Return values [B] or [B, C] of images as [B, 1, 1, C], to be used with their pixels."""
    return values.view(len(values), 1, 1, -1)


def light_per_image(lighting: Lighting) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return position, ambient and diffuse strength of the light, and which images are textureless.

    Args:
        lighting: of B images.

    Returns:
        [B, 1, 1, 3] and three times [B, 1, 1, 1] or [B, 1, 1, 3], see `per_image`.
    """
    return (
        per_image(lighting.light_position),
        per_image(lighting.ambient),
        per_image(lighting.diffuse),
        per_image(lighting.textureless),
    )
