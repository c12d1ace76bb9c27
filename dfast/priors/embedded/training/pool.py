"""Training images of the procedural world, computed on the training device while they are used.

A pool of G-buffers (random situations from random cameras) is traced once. Every batch draws views
from the pool, shades them with random colours, patterns, lights and backgrounds, and composes their
captions. So one traced view appears in every colour, and no image is used twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dfast.priors.embedded.model import camera_features, ray_map
from dfast.priors.embedded.training.cameras import random_cameras, uniform
from dfast.priors.embedded.training.captions import SLOTS, Captions
from dfast.priors.embedded.training.situations import INSTANCES, Situations, draw
from dfast.priors.embedded.training.things import WHITE, WORN_PARTS, Things
from dfast.scene.cameras import aimed, position
from dfast.scene.views import view_index
from dfast.world import tracer
from dfast.world.parts import ALL_COLORS, NOUN_PARTS
from dfast.world.random_sentences import PATTERNED, SHARES
from dfast.world.sentence import PATTERNS

TRACED = 128
"""Pixels a side of a traced view, twice those of an image."""


@dataclass(frozen=True)
class Odds:
    """Probabilities of what an image and its conditioning are like."""

    view_words: float = 0.5
    """the caption names the view"""
    camera: float = 0.7
    """camera vector and ray map are given"""
    empty_caption: float = 0.1
    """the caption is empty"""
    textureless: float = 0.12
    """everything is white"""
    unseen: float = 0.0
    """the caption of a textureless image names colours that it does not show"""
    albedo_only: float = 0.28
    """nothing is shaded, of images that are not textureless"""
    patterned: float = PATTERNED
    """a thing has a pattern"""


class Batch(NamedTuple):
    """B images with their captions and cameras."""

    image: Tensor
    """[B, 3, 64, 64] in [0, 1]."""
    tokens: Tensor
    """[B, TEXT_LENGTH]."""
    camera: Tensor
    """[B, CAMERA_FEATURES], zeros where it is not given."""
    rays: Tensor
    """[B, 3, 64, 64] of `ray_map`, zeros where the camera is not given."""
    chosen: Tensor
    """[B] view of the pool."""
    colors: Tensor
    """[B, SLOTS] colour index of each slot; WHITE for a textureless image."""
    second: Tensor
    """[B, 2] second colour of each thing."""
    pattern: Tensor
    """[B, 2] index of PATTERNS, negative for none."""
    view: Tensor
    """[B] index into VIEW_WORDS."""


class Pool:
    """G-buffers of random situations from random cameras, all on one device."""

    def __init__(
        self,
        things: Things,
        captions: Captions,
        count: int,
        seed: int,
        *,
        chunk: int = 256,
        elevation: tuple[float, float] = (-35.0, 88.0),
        steps: int = 32,
    ) -> None:
        """Trace the pool.

        Args:
            things: of the world.
            captions: make the templates.
            count: views, about.
            seed: of situations, cameras and later batches.
            chunk: views traced at once.
            elevation: range of the cameras in degrees.
            steps: of the tracer.
        """
        self.things, self.captions, device = things, captions, things.device
        self.generator = torch.Generator(device).manual_seed(seed)
        buffers, drawn, cameras = [], [], []
        for kind, share in SHARES.items():
            for _ in range(max(1, round(count * share / chunk))):
                situations = draw(things, kind, chunk, self.generator)
                camera = random_cameras(chunk, elevation, self.generator)
                table = situations.table(things)
                buffers.append(tracer.trace(table, camera, TRACED, steps=steps))
                drawn.append(situations)
                cameras.append(camera)
        self.buffer = tracer.GBuffer(*(torch.cat(f) for f in zip(*buffers, strict=True)))
        self.situations = Situations(*(torch.cat(f) for f in zip(*drawn, strict=True)))
        self.template = captions.templates(self.situations).to(device)
        names = ("azimuth", "elevation", "distance", "fov")
        self.camera = [torch.cat([getattr(c, name) for c in cameras]) for name in names]

    def __len__(self) -> int:
        return len(self.template)

    def batch(
        self,
        size: int,
        *,
        odds: Odds | None = None,
        held_out: bool | None = False,
        chosen: Tensor | None = None,
    ) -> Batch:
        """Shade views of the pool, and compose their captions.

        Args:
            size: images.
            odds: None is `Odds()`.
            held_out: colours of the things that training never shows with them; None for all
                colours.
            chosen: [size] views of the pool; random ones if None.
        """
        device, generator = self.things.device, self.generator
        odds = odds or Odds()

        def chance(p: float, *shape: int) -> Tensor:
            return torch.rand(*(shape or (size,)), device=device, generator=generator) < p

        if chosen is None:
            chosen = torch.randint(len(self), (size,), device=device, generator=generator)
        situations = Situations(*(t[chosen] for t in self.situations))
        colors, second = self._draw_colors(situations, held_out)
        plain = chance(odds.textureless)
        pattern = torch.randint(len(PATTERNS), (size, 2), device=device, generator=generator)
        pattern = torch.where(chance(odds.patterned, size, 2) & ~plain[:, None], pattern, -1)
        drawn, colors = colors, torch.where(plain[:, None], WHITE, colors)
        named = colors
        if odds.unseen > 0:  # without it nothing is drawn, and other trainings stay as they were
            named = torch.where(chance(odds.unseen)[:, None], drawn, colors)
        ambient = uniform(size, 0.1, 0.6, generator)
        ambient = torch.where(chance(odds.albedo_only) & ~plain, 1.0, ambient)
        azimuth, elevation, distance, fov = (v[chosen] for v in self.camera)
        towards = position(azimuth, elevation, torch.ones_like(azimuth))
        noise = torch.randn(size, 3, device=device, generator=generator)
        light = F.normalize(towards + 0.5 * noise, dim=-1)
        background = torch.rand(size, 3, device=device, generator=generator)
        grays = background[:, :1].expand(-1, 3)
        background = torch.where(chance(0.25)[:, None], grays, background)
        buffer = tracer.GBuffer(*(t[chosen] for t in self.buffer))
        albedo, which = self._paint(situations, colors, second, pattern)
        image = tracer.shade(buffer.shifted(which), albedo, light, ambient, background)

        view = view_index(azimuth, elevation)
        tokens = self.captions.fill(self.template[chosen], named, second, pattern)
        tokens = self.captions.add_view(tokens, view, chance(odds.view_words))
        tokens = torch.where(chance(odds.empty_caption)[:, None], 0, tokens)
        given = chance(odds.camera)
        rays = ray_map(aimed(azimuth, elevation, distance, fov))
        rays = torch.where(given[:, None, None, None], rays, 0.0)
        vector = camera_features(azimuth, elevation, distance, fov)
        camera = torch.where(given[:, None], vector, 0.0)
        return Batch(image, tokens, camera, rays, chosen, colors, second, pattern, view)

    def _draw_colors(self, situations: Situations, held_out: bool | None) -> tuple[Tensor, Tensor]:
        """Return the colours of the slots [B, SLOTS], and the second ones [B, 2]."""
        size, device = len(situations.number), self.things.device
        wrong = self.things.held_out[situations.noun.clamp_min(0)]  # [B, 2, colours]
        # The first of random arrivals; `multinomial` waits for the device, which no graph can hold.
        arrival = torch.rand(wrong.shape, device=device, generator=self.generator)
        allowed = torch.ones_like(wrong) if held_out is None else wrong == held_out
        main = torch.where(allowed, arrival, arrival + 1).argmin(-1)
        shape = (size, 2)
        own = torch.randint(len(ALL_COLORS), shape, device=device, generator=self.generator)
        colors = torch.stack([main, own], -1).view(-1, SLOTS)
        step = torch.randint(1, len(ALL_COLORS), shape, device=device, generator=self.generator)
        return colors, (main + step) % len(ALL_COLORS)

    def _paint(
        self, situations: Situations, colors: Tensor, second: Tensor, pattern: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the colours of K parts, then their second ones, and the pattern of each part.

        Args:
            situations: B.
            colors: [B, SLOTS].
            second: [B, 2].
            pattern: [B, 2].

        Returns:
            Albedo [B, 2 K, 3], and an index of `PATTERNS` or -1, [B, K].
        """
        row = situations.row.clamp_min(0)
        slot, fixed = _of_parts(self.things.slot[row]), _of_parts(self.things.fixed[row])
        thing = _owners(situations)
        color = colors.gather(1, 2 * thing + slot.clamp_min(0))
        color = torch.where(slot >= 0, color, fixed)
        color = torch.where(colors[:, :1] == WHITE, WHITE, color)
        other, which = second.gather(1, thing), pattern.gather(1, thing)
        which = torch.where(slot == 0, which, -1)
        columns = _columns(situations)
        color, other, which = (t.gather(1, columns) for t in (color, other, which))
        return self.things.palette[torch.cat([color, other], 1)], which

    def visible(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Return how many pixels (of `TRACED` squared) show what.

        Args:
            chosen: [B] views of the pool.

        Returns:
            Pixels of each colour slot [B, SLOTS], and of each thing [B, 2].
        """
        situations = Situations(*(t[chosen] for t in self.situations))
        columns = _columns(situations)
        owner = _owners(situations).gather(1, columns)
        slot = _of_parts(self.things.slot[situations.row.clamp_min(0)]).gather(1, columns)
        slot = torch.where(slot >= 0, 2 * owner + slot, -1)
        part = self.buffer.part[chosen].flatten(1)
        hit, index = part != tracer.EMPTY, part.long().clamp_max(slot.shape[1] - 1)
        seen = torch.where(hit, slot.gather(1, index), -1)
        whose = torch.where(hit, owner.gather(1, index), -1)
        slots = torch.stack([(seen == i).sum(1) for i in range(SLOTS)], 1)
        return slots, torch.stack([(whose == i).sum(1) for i in range(2)], 1)

    def visible_instances(self, chosen: Tensor) -> Tensor:
        """Return how many pixels (of `TRACED` squared) show each instance, [B, INSTANCES].

        Args:
            chosen: [B] views of the pool.
        """
        columns = _columns(Situations(*(t[chosen] for t in self.situations)))
        things = INSTANCES * NOUN_PARTS
        worn = torch.div(columns - things, WORN_PARTS, rounding_mode="floor")
        instance = torch.where(columns < things, columns // NOUN_PARTS, worn)
        part = self.buffer.part[chosen].flatten(1)
        index = part.long().clamp_max(instance.shape[1] - 1)
        seen = torch.where(part != tracer.EMPTY, instance.gather(1, index), -1)
        return torch.stack([(seen == i).sum(1) for i in range(INSTANCES)], 1)


def _columns(situations: Situations) -> Tensor:
    """Return where each traced part is among the parts of all instances, [B, K]."""
    things = INSTANCES * NOUN_PARTS
    traced = torch.arange(things + INSTANCES * WORN_PARTS, device=situations.row.device)
    # What is worn is traced after the parts of the things that are there.
    used = NOUN_PARTS * situations.instances[:, None]
    return torch.where(traced < used, traced, traced - used + things).clamp_max(len(traced) - 1)


def _of_parts(values: Tensor) -> Tensor:
    """Return values of the parts of each instance, [B, 2 INSTANCES, NOUN_PARTS], as one row."""
    own, worn = values.chunk(2, 1)
    return torch.cat([own.flatten(1), worn[..., :WORN_PARTS].flatten(1)], 1)


def _owners(situations: Situations) -> Tensor:
    """Return the thing that each part of each instance belongs to, 0 or 1, as `_of_parts`."""
    return _of_parts(situations.thing[..., None].expand(-1, -1, NOUN_PARTS))
