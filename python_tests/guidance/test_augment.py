"""Crops and backgrounds: exact places, ranges, statistics, gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import interpolate

from dfast.guidance.augment import (
    CLIP_MESH,
    DREAM_FIELDS,
    crop_matrices,
    random_backgrounds,
    random_crops,
)
from dfast.scene.blur import blurred


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [20, 9])
def test_a_crop_is_the_resize_of_a_part(size: int) -> None:
    image = torch.rand(1, 2, 16, 16, generator=seeded())
    rows = crop_matrices(torch.tensor([3]), 10, size, 16)
    columns = crop_matrices(torch.tensor([6]), 10, size, 16)
    part = image[:, :, 3:13, 6:16]
    expected = interpolate(part, size=(size, size), mode="bilinear", antialias=True)
    torch.testing.assert_close(rows @ image @ columns.mT, expected, atol=2e-3, rtol=0)
    torch.testing.assert_close(rows.sum(-1), torch.ones(1, size))


def test_a_crop_of_the_whole_at_its_own_size_changes_nothing() -> None:
    image = torch.rand(2, 3, 12, 12, generator=seeded())
    torch.testing.assert_close(random_crops(image, 1, 12, 12, seeded(1)), image)


def test_crops_differ_and_carry_gradients() -> None:
    image = torch.rand(2, 4, 12, 12, generator=seeded()).requires_grad_()
    crops = random_crops(image, 5, 10, 8, seeded(1))
    assert crops.shape == (10, 4, 8, 8)
    assert len({tuple(crop.flatten()[:3].tolist()) for crop in crops[:5]}) > 1
    crops.sum().backward()
    assert image.grad is not None and bool((image.grad[:, :, 3:-3, 3:-3] > 0).all())


@pytest.mark.parametrize("kinds", [DREAM_FIELDS, CLIP_MESH])
def test_backgrounds_are_images_of_the_seed(kinds: tuple[str, ...]) -> None:
    images = random_backgrounds(40, 32, kinds, (0.0, 10.0), seeded())  # type: ignore[arg-type]
    assert images.shape == (40, 3, 32, 32)
    assert float(images.min()) >= 0.0 and float(images.max()) <= 1.0
    again = random_backgrounds(40, 32, kinds, (0.0, 10.0), seeded())  # type: ignore[arg-type]
    assert torch.equal(images, again)
    assert len({tuple(image[:, 0, 0].tolist()) for image in images}) == 40


def test_each_kind_looks_as_it_is_called() -> None:
    sharp = (0.0, 0.0)
    noise = random_backgrounds(4, 32, ("noise",), sharp, seeded())
    assert float(noise.std()) == pytest.approx(12**-0.5, abs=0.02)
    checker = random_backgrounds(4, 32, ("checker",), sharp, seeded())
    assert all(len(image.flatten(1).unique(dim=1).T) == 2 for image in checker)
    assert torch.equal(checker[..., :4, :4], checker[..., 4:8, 4:8])
    assert not torch.equal(checker[..., :4, :4], checker[..., :4, 4:8])
    plain = random_backgrounds(4, 32, ("plain",), sharp, seeded())
    assert all(len(image.flatten(1).unique(dim=1).T) == 1 for image in plain)
    smooth = random_backgrounds(16, 32, ("fourier",), sharp, seeded())
    assert float(smooth.diff(dim=3).abs().mean()) < 0.4 * float(noise.diff(dim=3).abs().mean())
    assert 0.02 < float(smooth.flatten(2).std(-1).mean()) < 0.3


def test_contrast_of_fourier_textures_does_not_depend_on_the_size() -> None:
    small, large = (
        random_backgrounds(64, size, ("fourier",), (0.0, 0.0), seeded()) for size in (32, 96)
    )
    ratio = small.flatten(2).std(-1).mean() / large.flatten(2).std(-1).mean()
    assert float(ratio) == pytest.approx(1.0, abs=0.2)


def test_a_blur_has_its_standard_deviation_and_keeps_the_mean() -> None:
    dot = torch.zeros(2, 1, 33, 33)
    dot[:, :, 16, 16] = 1.0
    image = blurred(dot, torch.tensor([0.0, 2.0]), 12)
    assert torch.equal(image[0], dot[0])
    row = image[1, 0].sum(0)
    offset = torch.arange(33) - 16.0
    assert float(row.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float((row * offset.square()).sum()) == pytest.approx(4.0, rel=0.01)
