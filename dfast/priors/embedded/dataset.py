"""Training images of the procedural world, computed on the training device while they are used.

A pool of G-buffers (all geometries from random cameras) is traced once. Every batch draws views
from the pool, shades them with random colours, lights and backgrounds, and composes their captions.
So one traced view appears in every colour, and no image is used twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dfast.priors.embedded.geometries import SLOTS, Geometries
from dfast.priors.embedded.model import camera_features, ray_map
from dfast.priors.embedded.training.cameras import random_cameras, uniform
from dfast.scene.cameras import aimed, position
from dfast.scene.views import view_index
from dfast.world import tracer
from dfast.world.parts import MAX_PARTS


@dataclass(frozen=True)
class Views:
    """Probabilities of the view conditioning of an image."""

    words: float = 0.6
    """the caption names the view"""
    camera: float = 0.6
    """camera vector and ray map are given"""
    empty_caption: float = 0.1
    """the caption is empty"""


class Batch(NamedTuple):
    """B images with their captions and cameras."""

    image: Tensor  # [B, 3, 64, 64] in [0, 1]
    tokens: Tensor  # [B, TEXT_LENGTH]
    camera: Tensor  # [B, CAMERA_FEATURES]
    rays: Tensor  # [B, 3, 64, 64], model.ray_map
    geometry: Tensor  # [B] index into Geometries.scenes
    colors: Tensor  # [B, SLOTS] colour index of each slot; len(COLORS): textureless or unused
    view: Tensor  # [B] index into VIEW_WORDS
    visible: Tensor  # [B] pixels (of 128 x 128) of the least visible slot


class Pool:
    """G-buffers of random geometries from random cameras, all on one device."""

    def __init__(
        self,
        geometries: Geometries,
        count: int,
        seed: int,
        *,
        chunk: int = 250,
        elevation: tuple[float, float] = (-35.0, 88.0),
    ) -> None:
        """Trace the pool.

        Args:
            geometries: to draw from.
            count: views.
            seed: of geometries, cameras and later batches.
            chunk: views traced at once.
            elevation: range of the cameras in degrees.
        """
        self.geometries, device = geometries, geometries.device
        self.generator = torch.Generator(device).manual_seed(seed)
        buffers, cameras, which = [], [], []
        for _ in range(0, count, chunk):
            geometry = torch.multinomial(
                geometries.weight, chunk, replacement=True, generator=self.generator
            )
            camera = random_cameras(chunk, elevation, self.generator)
            table = geometries.table.select(geometry)
            buffer = tracer.trace(table, camera, 128)
            buffers.append(buffer)
            cameras.append(camera)
            which.append(geometry)
        self.buffer = tracer.GBuffer(*(torch.cat(f) for f in zip(*buffers, strict=True)))
        self.geometry = torch.cat(which)
        self.azimuth = torch.cat([c.azimuth for c in cameras])
        self.elevation = torch.cat([c.elevation for c in cameras])
        self.distance = torch.cat([c.distance for c in cameras])
        self.fov = torch.cat([c.fov for c in cameras])

    def batch(
        self,
        size: int,
        *,
        views: Views | None = None,
        held_out: bool = False,
        textureless: float = 0.12,
        albedo_only: float = 0.28,
        chosen: Tensor | None = None,
    ) -> Batch:
        """Shade views of the pool, and compose their captions.

        Args:
            size: images.
            views: probabilities of view conditioning; None is `Views()`.
            held_out: colours that training never shows.
            textureless: probability of a white object.
            albedo_only: probability of no shading, for objects with colours.
            chosen: [size] views of the pool; random ones if None.
        """
        g, device, generator = self.geometries, self.geometries.device, self.generator
        views = views or Views()

        def chance(p: float) -> Tensor:
            return torch.rand(size, device=device, generator=generator) < p

        if chosen is None:
            chosen = torch.randint(len(self.geometry), (size,), device=device, generator=generator)
        geometry = self.geometry[chosen]
        azimuth, elevation = self.azimuth[chosen], self.elevation[chosen]
        buffer = tracer.GBuffer(*(t[chosen] for t in self.buffer))
        colors = g.draw_colors(geometry, held_out, generator)
        plain = chance(textureless)
        colors = torch.where(plain[:, None], g.textureless, colors)
        ambient = uniform(size, 0.1, 0.6, generator)
        ambient = torch.where(chance(albedo_only) & ~plain, 1.0, ambient)
        towards = position(azimuth, elevation, torch.ones_like(azimuth))
        noise = torch.randn(size, 3, device=device, generator=generator)
        light = F.normalize(towards + 0.5 * noise, dim=-1)
        background = torch.rand(size, 3, device=device, generator=generator)
        grays = background[:, :1].expand(-1, 3)
        background = torch.where(chance(0.25)[:, None], grays, background)
        image = tracer.shade(buffer, g.part_colors(geometry, colors), light, ambient, background)

        view = view_index(azimuth, elevation)
        tokens = g.caption_tokens(geometry, colors)
        tokens = g.add_view(tokens, geometry, view, chance(views.words))
        tokens = torch.where(chance(views.empty_caption)[:, None], 0, tokens)
        distance, fov = self.distance[chosen], self.fov[chosen]
        rays = ray_map(aimed(azimuth, elevation, distance, fov))
        given = chance(views.camera)
        vector = camera_features(azimuth, elevation, distance, fov)
        camera = torch.where(given[:, None], vector, 0.0)
        rays = torch.where(given[:, None, None, None], rays, 0.0)
        visible = visible_pixels(buffer.part, g.slot[geometry], g.slots[geometry])
        return Batch(image, tokens, camera, rays, geometry, colors, view, visible)


def visible_pixels(part: Tensor, slot: Tensor, slots: Tensor) -> Tensor:
    """Return the pixels of the least visible colour slot, [B].

    Args:
        part: [B, H, W] index of the part at each pixel.
        slot: [B, MAX_PARTS] colour slot of each part, negative for none.
        slots: [B] number of slots.
    """
    padded = torch.cat([slot, torch.full_like(slot[:, :1], -1)], dim=1)
    index = part.long().clamp_max(MAX_PARTS).flatten(1)
    seen = padded.gather(1, index)
    counts = torch.stack([(seen == s).sum(1) for s in range(SLOTS)], dim=1)
    unused = torch.arange(SLOTS, device=part.device) >= slots[:, None]
    return torch.where(unused, part[0].numel(), counts).amin(1)
