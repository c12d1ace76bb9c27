"""Objects that a CLIP scores, end to end on tiny random weights and painted images."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from tiny_clip import folder
from torch import Tensor
from torch.nn.functional import normalize

from dfast.clip import ClipEncoder, load_clip
from dfast.evaluation.clip_report import ClipReport
from dfast.evaluation.clip_score import METRICS, Subject, score_with_clips, views_of
from dfast.evaluation.clip_views import Views, icosphere, t3bench

COLORS = {"a red ball": 0, "a green ball": 1, "a blue ball": 2}
PROMPTS = [*COLORS, "a ball"]


class ColorClip(ClipEncoder):
    """A CLIP that knows the three colours, and the word "front" as brightness."""

    def encode_images(self, images: Tensor) -> Tensor:
        """Return the mean colours, with a small fourth number for brightness."""
        mean = images.mean((2, 3))
        return normalize(torch.cat([mean, 0.1 * mean.amax(1, keepdim=True)], 1), dim=1)

    def encode_text(self, texts: list[str]) -> Tensor:
        """Return the colour of each text."""
        rows = []
        for text in texts:
            color = next((i for word, i in COLORS.items() if word in text), None)
            row = [0.6] * 3 if color is None else [float(i == color) for i in range(3)]
            rows.append([*row, 0.5 * ("front" in text)])
        return normalize(torch.tensor(rows), dim=1)


@pytest.fixture(scope="module")
def clip() -> ClipEncoder:
    """A tiny random CLIP."""
    return load_clip(str(folder()), "cpu")


@pytest.fixture
def color_clip(clip: ClipEncoder) -> ClipEncoder:
    """One that knows colours."""
    return ColorClip("colors", clip.folder, clip.network, clip.tokenizer, clip.preprocessing)


def _painted(prompt: str, paint: int | None = None) -> Subject:
    """Return an object whose every image is of one colour, by default that of its prompt."""
    color = torch.zeros(3)
    color[COLORS.get(prompt, 0) if paint is None else paint] = 1.0

    def render(views: Views) -> Tensor:
        return color.view(1, 3, 1, 1).expand(len(views), 3, 8, 8)

    return Subject(prompt, prompt, "run", 0, render)


def test_right_and_wrong_colours(color_clip: ClipEncoder) -> None:
    subjects = [_painted("a red ball"), _painted("a green ball", paint=2)]
    right, wrong = (s for (s,) in score_with_clips(subjects, [color_clip], PROMPTS, METRICS))
    assert set(right.r_precision.values()) == {1.0}
    assert set(wrong.r_precision.values()) == {0.0}
    assert right.similarity is not None and right.similarity > 0.99
    assert wrong.similarity == pytest.approx(0.0, abs=1e-6)
    assert right.t3bench == pytest.approx(right.similarity)
    assert right.janus is not None and right.janus.confusion[0] == right.janus.confusion[2]


def test_only_what_is_asked_for_is_rendered(clip: ClipEncoder) -> None:
    rendered: list[str] = []
    plain = _painted("a red ball")

    def render(views: Views) -> Tensor:
        rendered.append(views.name)
        return plain.render(views)

    subject = Subject("x", plain.prompt, "run", 1, render)
    (scores,) = score_with_clips([subject], [clip, clip], PROMPTS, ["similarity"])
    assert rendered == ["dreamfusion-color"] and len(scores) == 2
    assert scores[0].r_precision == {} and scores[0].janus is None
    assert list(scores[0].numbers()) == ["similarity"]
    assert [views.name for views in views_of(METRICS)] == [
        "dreamfusion-color", "dreamfusion-geometry", "dream-fields", "janus", "t3bench",
    ]  # fmt: skip


def test_retrieval_among_one_prompt_says_nothing(clip: ClipEncoder) -> None:
    subject = _painted("a red ball")
    ((score,),) = score_with_clips([subject], [clip], ["a red ball"], METRICS[:2])
    assert score.r_precision == {} and score.similarity is not None


def test_the_best_field_of_view_of_every_camera_counts(color_clip: ClipEncoder) -> None:
    """Images of all cameras with the second field of view come after all with the first."""

    def render(views: Views) -> Tensor:
        images = torch.zeros(len(views.fovs), len(icosphere()[0]), 3, 4, 4)
        images[:, :, 2] = 1.0
        images[1, :, 2], images[1, :, 0] = 0.0, 1.0
        return images.flatten(0, 1)

    subject = Subject("x", "a red ball", "run", 1, render)
    ((score,),) = score_with_clips([subject], [color_clip], PROMPTS, ["t3bench"])
    assert score.t3bench is not None and score.t3bench > 0.99 and len(t3bench().fovs) == 5


def _report(clip: ClipEncoder, metrics: tuple[str, ...] = METRICS[:3]) -> ClipReport:
    subjects = [_painted(prompt) for prompt in COLORS]
    scores = tuple(s for row in score_with_clips(subjects, [clip], PROMPTS, metrics) for s in row)
    about = tuple(views.about() for views in views_of(metrics))
    return ClipReport(scores, (clip.about(),), about, tuple(PROMPTS))


def test_a_report_says_how_to_get_its_numbers_again(clip: ClipEncoder) -> None:
    report = _report(clip)
    table = report.table()
    expected = [
        clip.name,
        clip.digest[:12],
        "32 pixels",
        "among 4 (chance 0.250)",
        "8 azimuths, elevation 30, distance 3, view of 40 degrees, 224 pixels, albedo",
        "1 azimuth 30, elevation 45, distance 4",
        "background (1, 1, 1)",
        "dfast 0",
    ]
    assert [words for words in expected if words not in table] == []
    stored = json.loads(json.dumps(report.as_dict(device="cpu")))
    assert stored["clips"][0]["weights_sha256"] == clip.digest
    assert {views["name"] for views in stored["views"]} >= {"janus", "dream-fields"}
    assert stored["scores"][0]["janus"]["back_as_front"] in (0.0, 1.0)
    means = stored["means"][clip.name]
    assert means["similarity"] == pytest.approx(
        sum(score["similarity"] for score in stored["scores"]) / 3
    )
    assert f"{means['similarity']:10.3f}" in table.split("mean")[1]


@pytest.mark.parametrize("call", [ClipReport.table, ClipReport.as_dict])
def test_a_report_of_few_metrics(clip: ClipEncoder, call: Callable[[ClipReport], object]) -> None:
    text = str(call(_report(clip, ("similarity",))))
    assert "janus" not in text.replace("'janus': None", "") and "dreamfusion-color" in text
