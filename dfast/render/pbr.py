"""Light on surfaces of roughness and metalness, in linear light.

The material is that of glTF 2.0 (Khronos Group, "glTF 2.0 Specification", appendix B): a GGX
microfacet reflection (Walter et al. 2007) over a Lambertian base, with f0 = 0.04 for dielectrics
and the base colour for metals. Lights are scaled as in the rest of dfast: irradiance 1 makes a
white rough surface that faces the light white.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from dfast.render import studio
from dfast.render.mesh import Fragments, Shader
from dfast.render.shading import lambert, light_per_image, per_image
from dfast.scene.cameras import CameraBatch
from dfast.scene.lighting import Lighting
from dfast.scene.mesh_scene import SMOOTHEST

DIELECTRIC = 0.04
"""Share of the light that a dielectric reflects straight back."""
SKY_SLOPE = 0.25
"""How much more irradiance than the mean comes from straight above in training, as its share."""


class Material(NamedTuple):
    """What a surface is made of; all in [0, 1]."""

    base: Tensor
    """[..., 3] linear RGB"""
    roughness: Tensor
    """[..., 1]"""
    metalness: Tensor
    """[..., 1]"""

    @classmethod
    def of(cls, color: Tensor) -> Material:
        """Return the material of a texture's five channels [..., 5].

        Args:
            color: display RGB, roughness, metalness.
        """
        return cls(
            studio.decode(color[..., :3].clamp(0.0, 1.0)),
            color[..., 3:4].clamp(SMOOTHEST, 1.0),
            color[..., 4:5].clamp(0.0, 1.0),
        )

    @property
    def f0(self) -> Tensor:
        """Return the share of the light that is reflected straight back, [..., 3]."""
        return DIELECTRIC + self.metalness * (self.base - DIELECTRIC)

    @property
    def diffuse(self) -> Tensor:
        """Return the albedo of the Lambertian base, [..., 3]."""
        return (1.0 - self.metalness) * self.base


def lit(material: Material, normal: Tensor, view: Tensor, light: Tensor) -> Tensor:
    """Return the light that leaves a surface under a light of irradiance 1, [..., 3].

    pi f(l, v) max(0, n . l), where f is glTF's: (1 - F) diffuse / pi + F D V with Schlick's F
    (1994), GGX's D with alpha = roughness^2 (Walter et al. 2007, equation 33) and the
    height-correlated Smith V (Heitz 2014, equation 99). Differentiable.

    Args:
        material: of the surface.
        normal: [..., 3] unit normals n.
        view: [..., 3] unit vectors v to the camera.
        light: [..., 3] unit vectors l to the light.
    """
    half = normalize(light + view, dim=-1)
    nl, nv = _dot(normal, light).clamp(min=0.0), _dot(normal, view).clamp(min=1e-3)
    nh, vh = _dot(normal, half).clamp(min=0.0), _dot(view, half).clamp(0.0, 1.0)
    a2 = material.roughness.pow(4)
    pi_d = a2 / (nh.square() * (a2 - 1.0) + 1.0).square()
    masked = nl * (nv.square() * (1.0 - a2) + a2).sqrt()
    shadowed = nv * (nl.square() * (1.0 - a2) + a2).sqrt()
    fresnel = material.f0 + (1.0 - material.f0) * (1.0 - vh).pow(5)
    return ((1.0 - fresnel) * material.diffuse + fresnel * pi_d * 0.5 / (masked + shadowed)) * nl


def surrounded(
    material: Material, normal: Tensor, view: Tensor, level: Tensor | float, slope: Tensor | float
) -> Tensor:
    """Return the light that leaves a surface in an environment that is brighter above, [..., 3].

    The environment has spherical harmonics of degree 0 and 1 alone, so that the irradiance in the
    direction n is level + slope n_z; a cosine lobe keeps 2/3 of the radiance's degree 1
    (Ramamoorthi and Hanrahan 2001, equation 8). Reflections are the split sum (Karis 2013): the
    environment blurred by the roughness, times the reflectance under even light. Differentiable.

    Args:
        material: of the surface.
        normal: [..., 3] unit normals n.
        view: [..., 3] unit vectors v to the camera.
        level: mean irradiance.
        slope: how much it rises with n_z.
    """
    nv = _dot(normal, view)
    mirrored = 2.0 * nv * normal - view
    share = reflectance(material, nv.clamp(0.0, 1.0))
    sharpness = 1.5 - 0.5 * material.roughness  # 3/2 is a mirror, 1 the cosine lobe
    reflected = level + slope * sharpness * mirrored[..., 2:]
    return (1.0 - share) * material.diffuse * (level + slope * normal[..., 2:]) + share * reflected


def reflectance(material: Material, cosine: Tensor) -> Tensor:
    """Return the share of even light from all sides that a surface reflects, [..., 3].

    The fit of the split sum's second factor by Karis, "Physically based shading on mobile" (2014).

    Args:
        material: of the surface.
        cosine: [..., 1] n . v in [0, 1].
    """
    r = material.roughness
    first = torch.minimum((1.0 - r).square(), torch.exp2(-9.28 * cosine))
    amount = first * (1.0 - r) + 0.0425 - 0.0275 * r
    scale = -1.04 * amount + 1.04 - 0.572 * r
    offset = 1.04 * amount + 0.022 * r - 0.04
    return (material.f0 * scale + offset).clamp(0.0, 1.0)


def pbr(lighting: Lighting, cameras: CameraBatch) -> Shader:
    """Return the shader of textures with five channels for training.

    A point light and an environment take the places of the point light and the ambient light of
    `dfast.render.shading.lambert`. Images of the albedo alone, and textureless ones, are those of
    that.

    Args:
        lighting: of B images.
        cameras: of the B images.
    """
    rough = lambert(lighting)
    position, ambient, diffuse, white = light_per_image(lighting)
    origin = per_image(cameras.origin)

    def shade(seen: Fragments) -> Tensor:
        material = Material.of(seen.color)
        view = normalize(origin - seen.position, dim=-1)
        light = normalize(position - seen.position, dim=-1)
        linear = diffuse * lit(material, seen.normal, view, light)
        around = surrounded(material, seen.normal, view, ambient, SKY_SLOPE * ambient)
        display = studio.encode((linear + around).clamp(0.0, 1.0))
        return torch.where((diffuse > 0) & (white == 0), display, rough(seen))

    return shade


def studio_pbr(cameras: CameraBatch) -> Shader:
    """Return the shader of textures with five channels in the light of `dfast.render.studio`.

    Args:
        cameras: B cameras, with whom the lights move.
    """
    origin = per_image(cameras.origin)
    key, fill = (per_image(studio.in_world(light, cameras)) for light in (studio.KEY, studio.FILL))
    level = 0.5 * (studio.SKY_LIGHT + studio.GROUND_LIGHT)
    slope = 0.5 * (studio.SKY_LIGHT - studio.GROUND_LIGHT)

    def shade(seen: Fragments) -> Tensor:
        material = Material.of(seen.color)
        view = normalize(origin - seen.position, dim=-1)
        linear = (
            studio.KEY_LIGHT * lit(material, seen.normal, view, key)
            + studio.FILL_LIGHT * lit(material, seen.normal, view, fill)
            + surrounded(material, seen.normal, view, level, slope)
        )
        return studio.encode(linear.clamp(0.0, 1.0))

    return shade


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1, keepdim=True)
