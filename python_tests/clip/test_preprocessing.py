"""What a CLIP sees of an image, beside transformers' own image processor."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from dfast.clip.preprocessing import Preprocessing, filter_weights

SHORT = {"shortest_edge": 32}


def _bytes(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Return two 8-bit images, one of them black and white, which overshoots in every filter."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (2, 3, height, width), generator=generator, dtype=torch.uint8)
    images[1] = torch.where(images[1] > 127, 255, 0).to(torch.uint8)
    return images


@pytest.mark.parametrize(
    ("options", "height", "width"),
    [
        ({}, 256, 256),
        ({"size": SHORT, "crop_size": 32}, 64, 64),
        ({"size": SHORT, "crop_size": {"height": 33, "width": 30}}, 37, 51),
        ({"size": {"shortest_edge": 64}, "crop_size": 64, "resample": 2}, 33, 20),
        ({"size": {"height": 40, "width": 30}, "crop_size": 64}, 90, 200),
        ({"size": 32, "crop_size": 48}, 9, 50),
        ({"size": SHORT, "crop_size": 32}, 32, 32),
        ({"do_resize": False, "do_center_crop": False, "do_normalize": False}, 20, 30),
        ({"do_rescale": False, "size": SHORT, "crop_size": 32}, 40, 40),
    ],
)
@pytest.mark.parametrize("differentiable", [False, True])
def test_pixels_are_those_of_transformers(
    options: dict[str, Any], height: int, width: int, differentiable: bool
) -> None:
    processor = CLIPImageProcessorPil(**options)
    images = _bytes(height, width)
    rows = [image.permute(1, 2, 0).numpy() for image in images]
    expected = processor(images=rows, return_tensors="pt", input_data_format="channels_last")
    own = Preprocessing.from_config(processor.to_dict())
    found = own((images / 255).requires_grad_(differentiable)).detach()
    assert own.result(height, width) == found.shape[2:]
    torch.testing.assert_close(found, expected.pixel_values.float(), rtol=1e-6, atol=1e-4)


def test_old_configurations_have_numbers_for_sizes() -> None:
    old = {"size": 224, "crop_size": 224, "resample": 3, "do_resize": True}
    assert Preprocessing.from_config(old) == Preprocessing.from_config({})


def test_images_between_levels_are_rounded() -> None:
    own = Preprocessing.from_config({"do_resize": False, "do_center_crop": False})
    image = torch.full((1, 3, 4, 4), 100.4 / 255)
    assert torch.equal(own(image), own(torch.full((1, 3, 4, 4), 100 / 255)))


def test_the_gradient_is_that_of_the_filters() -> None:
    own = Preprocessing.from_config({"size": SHORT, "crop_size": 24, "do_normalize": False})
    image = (0.2 + 0.6 * torch.rand(1, 3, 50, 60)).requires_grad_()  # no filter overshoots
    toward = torch.randn(1, 3, 24, 24)
    (found,) = torch.autograd.grad((own(image) * toward).sum(), image)
    rows, columns = filter_weights(50, 32, 3) / 2**22, filter_weights(60, 38, 3) / 2**22
    smooth = rows @ image.detach().double() @ columns.mT
    assert (own(image) - smooth[..., 4:28, 7:31]).abs().max() < 2 / 255
    back = torch.zeros(1, 3, 32, 38, dtype=torch.float64)
    back[..., 4:28, 7:31] = toward.double()
    torch.testing.assert_close(found.double(), rows.mT @ back @ columns, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"size": {"longest_edge": 3}}, "size: expected"),
        ({"size": -1}, "size: expected"),
        ({"crop_size": "big"}, "crop_size: expected"),
        ({"crop_size": {"height": 3, "width": 10**9}}, "crop_size: expected"),
        ({"resample": 0}, "resample: expected 2 .bilinear. or 3 .bicubic., got 0"),
        ({"resample": [3]}, "resample: expected"),
        ({"rescale_factor": 0}, "rescale_factor: expected a positive number, got 0"),
        ({"image_mean": [0.1, 0.2]}, "image_mean: expected three numbers"),
        ({"image_std": [1, 1, 0]}, "image_std: expected positive numbers"),
        ({"image_std": [1, 1, float("nan")]}, "image_std: expected three numbers"),
    ],
)
def test_bad_configurations_are_told_in_words(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocessing.from_config(config)
