"""The embedded CLIP, with the weights that dfast ships."""

from __future__ import annotations

from dataclasses import replace

import torch

from dfast.clip import load_clip
from dfast.clip.loading import EMBEDDED
from dfast.evaluation.clip_views import DREAMFUSION_COLOR
from dfast.reproduction.truth import truth_images

SENTENCES = (
    "a red chair",
    "a blue chair",
    "a tall green lamp",
    "two yellow ducks",
    "a cat on top of a brown sofa",
    "a sofa on top of a brown cat",
    "a penguin in a red hat",
    "a white and blue striped mug",
)
"""Some differ in the colour, or in what is on top of what, alone."""
VIEWS = replace(DREAMFUSION_COLOR, azimuths=(30.0, 150.0), elevations=(30.0, 30.0), resolution=64)


def test_images_of_the_world_find_their_sentences() -> None:
    clip = load_clip("shapes", "cpu")
    texts = clip.encode_text(SENTENCES)
    found = []
    for sentence in SENTENCES:
        images = clip.encode_images(truth_images(sentence, "cpu", VIEWS))
        found.append((images @ texts.mT).argmax(1))
    right = torch.stack(found) == torch.arange(len(SENTENCES))[:, None]
    assert right.float().mean() >= 0.9, found


def test_the_folder_is_small() -> None:
    assert sum(file.stat().st_size for file in EMBEDDED.iterdir()) <= 12 * 2**20


def test_transformers_alone_reads_it() -> None:
    from transformers import CLIPModel, CLIPTokenizer

    clip = load_clip("shapes", "cpu")
    model = CLIPModel.from_pretrained(EMBEDDED, local_files_only=True).float().eval()
    tokenizer = CLIPTokenizer.from_pretrained(EMBEDDED, local_files_only=True)
    read = tokenizer(["a red chair."], return_tensors="pt", padding="max_length")
    with torch.no_grad():
        text = model.text_model(input_ids=read["input_ids"]).pooler_output
        ours = torch.nn.functional.normalize(model.text_projection(text), dim=1)
    torch.testing.assert_close(clip.encode_text(["a red chair."]), ours, atol=1e-4, rtol=1e-3)
