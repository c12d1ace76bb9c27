"""Diffusion models of the published families, tiny and random: against diffusers' own pipelines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import FAMILIES, LATENT, copied, folder
from torch import Tensor

from dfast.config import PriorConfig
from dfast.errors import PriorError, PromptError
from dfast.priors import load_prior
from dfast.priors.base import Prior
from dfast.priors.diffusion import classifier_free_guidance
from dfast.priors.loading._quiet import quiet
from dfast.priors.loading.weights import size_of
from dfast.priors.noise_schedule import NoiseSchedule
from dfast.scene.cameras import CameraBatch, orbit
from dfast.scene.views import VIEW_WORDS, view_index, view_weights

CPU = torch.device("cpu")
PROMPT, NEGATIVE = "a red chair", "an ugly thing"
PLAIN = torch.zeros(2, dtype=torch.bool)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFAST_CACHE", str(tmp_path / "cache"))


def load(family: str, **options: Any) -> Any:
    return load_prior(str(folder(family)), CPU, options=PriorConfig(**options))


def pipeline(family: str) -> Any:
    import diffusers

    name = {"sdxl": "StableDiffusionXLPipeline", "if-m": "IFPipeline"}
    cls = getattr(diffusers, name.get(family, "StableDiffusionPipeline"))
    with quiet():
        made = cls.from_pretrained(folder(family))
    made.set_progress_bar_config(disable=True)
    return made


def noise_like(prior: Any, batch: int = 2, seed: int = 0) -> Tensor:
    """Random [B,C,h,w] of what the model diffuses."""
    config = prior.unet_config
    shape = (batch, config["in_channels"], config["sample_size"], config["sample_size"])
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def encode_prompts(pipe: Any, family: str) -> tuple[Tensor, dict[str, Tensor]]:
    """The pipeline's own embeddings: hidden [2,L,D] (text, negative), and SDXL's pooled [2,P]."""
    if family == "sdxl":
        text, negative, pooled, negative_pooled = pipe.encode_prompt(
            PROMPT, negative_prompt=NEGATIVE, device=CPU, do_classifier_free_guidance=True
        )
        return torch.cat([text, negative]), {"text_embeds": torch.cat([pooled, negative_pooled])}
    options = {} if family == "if-m" else {"num_images_per_prompt": 1}
    text, negative = pipe.encode_prompt(
        PROMPT, negative_prompt=NEGATIVE, device=CPU, do_classifier_free_guidance=True, **options
    )
    return torch.cat([text, negative]), {}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_noise_is_that_of_the_pipelines_own_call(family: str) -> None:
    prior, pipe = load(family), pipeline(family)
    assert isinstance(prior, Prior)
    noisy, t = noise_like(prior), torch.tensor([40, 900])
    condition = prior.encode_prompt(PROMPT, views="none", negative=NEGATIVE)
    got = prior.predict_noise(
        noisy, t, condition, cameras=None, textureless=PLAIN, conditions=("text", "negative")
    )
    hidden, added = encode_prompts(pipe, family)
    if family == "sdxl":
        size = float(prior.image_size)
        ids = torch.tensor([[size, size, 0, 0, size, size]]).repeat(4, 1)
        added = {"text_embeds": added["text_embeds"].repeat_interleave(2, 0), "time_ids": ids}
    with torch.no_grad():
        output = pipe.unet(
            noisy.repeat(2, 1, 1, 1), t.repeat(2), hidden.repeat_interleave(2, 0),
            added_cond_kwargs=added or None,
        ).sample[:, : noisy.shape[1]]  # fmt: skip
    if prior.schedule.prediction == "v_prediction":
        bar = pipe.scheduler.alphas_cumprod[t.repeat(2)].view(-1, 1, 1, 1)
        output = bar.sqrt() * output + (1 - bar).sqrt() * noisy.repeat(2, 1, 1, 1)
    torch.testing.assert_close(got.flatten(0, 1), output, rtol=1e-5, atol=1e-5)
    assert got.dtype == torch.float32
    assert (got[0] - got[1]).abs().max() > 1e-3  # the words are heard


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_sampling_with_the_prior_gives_the_pipelines_picture(family: str) -> None:
    from diffusers import DDIMScheduler

    prior, pipe, w, steps = load(family), pipeline(family), 4.0, 4
    config = {**pipe.scheduler.config, "variance_type": "fixed"}  # the pipeline drops it then
    pipe.scheduler = DDIMScheduler.from_config(config)
    ours = DDIMScheduler.from_config(pipe.scheduler.config, prediction_type="epsilon")
    options: dict[str, Any] = {
        "negative_prompt": NEGATIVE, "guidance_scale": 1 + w, "num_inference_steps": steps,
    }  # fmt: skip
    x = noise_like(prior, 1)
    if family == "if-m":
        generator = torch.Generator().manual_seed(0)
        options |= {"clean_caption": False, "output_type": "pt"}
        wanted = pipe(PROMPT, generator=generator, **options).images
    else:
        wanted = pipe(PROMPT, output_type="latent", latents=x, **options).images
    condition = prior.encode_prompt(PROMPT, views="none", negative=NEGATIVE)
    ours.set_timesteps(steps)
    for t in ours.timesteps:
        text, negative = prior.predict_noise(
            x,
            t[None],
            condition,
            cameras=None,
            textureless=PLAIN[:1],
            conditions=("text", "negative"),
        )
        x = ours.step(classifier_free_guidance(text, negative, w), t, x).prev_sample
    torch.testing.assert_close(x, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_call_of_the_network_for_all_roles(family: str) -> None:
    prior = load(family)
    condition = prior.encode_prompt(PROMPT)
    prior.load()
    seen: list[tuple[int, ...]] = []
    prior.unet.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape)))
    noisy, t, cameras = noise_like(prior), torch.tensor([500, 20]), orbit(2)

    def ask(conditions: tuple[str, ...]) -> Tensor:
        return prior.predict_noise(
            noisy, t, condition, cameras=cameras, textureless=PLAIN, conditions=conditions
        )

    together = ask(("text", "null", "negative"))
    assert seen == [(6, *noisy.shape[1:])]
    assert together.shape == (3, *noisy.shape)
    assert not together.requires_grad
    for role, row in zip(("text", "null", "negative"), together, strict=True):
        torch.testing.assert_close(ask((role,))[0], row, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together[1], together[2])  # no negative prompt: no words


def test_views_are_told_in_the_papers_words() -> None:
    prior = load("sd15")
    cameras = orbit(4, elevation=70.0)
    cameras = CameraBatch(
        cameras.origin, cameras.rotation, cameras.fov, torch.tensor([0.0, 60.0, 180.0, 10.0]),
        torch.tensor([0.0, 0.0, 0.0, 80.0]), cameras.distance,
    )  # fmt: skip
    views = view_index(cameras.azimuth, cameras.elevation).tolist()
    assert views == [0, 1, 2, 3]
    noisy, t = noise_like(prior, 4), torch.full((4,), 500)
    texts = {}
    for how in ("words", "camera", "none"):
        condition = prior.encode_prompt(PROMPT, views=how)
        texts[how] = prior.predict_noise(
            noisy, t, condition, cameras=cameras, textureless=torch.zeros(4, dtype=torch.bool)
        )[0]
    for i, view in enumerate(views):
        alone = prior.encode_prompt(f"{PROMPT}, {VIEW_WORDS[view]} view", views="none")
        told = prior.predict_noise(
            noisy[i : i + 1], t[:1], alone, cameras=None, textureless=PLAIN[:1]
        )[0, 0]
        torch.testing.assert_close(texts["words"][i], told, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(texts["camera"][[0, 2, 3]], texts["words"][[0, 2, 3]])
    assert (texts["camera"][1] - texts["words"][1]).abs().max() > 1e-4  # between front and side
    assert (texts["none"] - texts["words"]).abs().max() > 1e-4


def test_embeddings_are_blended_by_view() -> None:
    prior = load("if-m")
    condition = prior.encode_prompt(PROMPT)
    seen: list[Tensor] = []
    prior.load()
    prior.unet.register_forward_pre_hook(lambda _, args: seen.append(args[2]))
    cameras = orbit(2, azimuth=30.0)
    prior.predict_noise(
        noise_like(prior), torch.tensor([1, 2]), condition, cameras=cameras, textureless=PLAIN
    )
    weights = view_weights(cameras.azimuth, cameras.elevation)
    wanted = torch.einsum("bv,vld->bld", weights, condition.tables["hidden"][1:5])
    torch.testing.assert_close(seen[0], wanted)


def test_six_channels_are_noise_and_variance() -> None:
    prior = load("if-m")
    condition = prior.encode_prompt(PROMPT, views="none")
    prior.load()
    outputs: list[Tensor] = []
    prior.unet.register_forward_hook(lambda *args: outputs.append(args[2][0]))
    noisy = noise_like(prior)
    eps = prior.predict_noise(
        noisy, torch.tensor([5, 999]), condition, cameras=None, textureless=PLAIN
    )
    assert outputs[0].shape[1] == 6
    assert torch.equal(eps[0], outputs[0][:, :3])


def test_sdxl_is_told_sizes_and_no_words_are_zeros() -> None:
    prior = load("sdxl", image_size=96)
    assert prior.image_size == 96
    condition = prior.encode_prompt(PROMPT, negative="")
    prior.load()
    added: list[dict[str, Tensor]] = []
    prior.unet.register_forward_pre_hook(
        lambda _, args, kwargs: added.append(kwargs["added_cond_kwargs"]), with_kwargs=True
    )
    noisy = torch.randn(1, 4, 12, 12)
    prior.predict_noise(
        noisy, torch.tensor([3]), condition, cameras=orbit(1), textureless=PLAIN[:1],
        conditions=("text", "negative"),
    )  # fmt: skip
    assert added[0]["time_ids"].tolist() == [[96, 96, 0, 0, 96, 96]] * 2
    assert added[0]["text_embeds"][0].abs().max() > 0
    assert not added[0]["text_embeds"][1].any()
    assert not condition.tables["hidden"][-1].any()


def test_a_prompt_that_would_lose_its_view_is_refused() -> None:
    with pytest.raises(PromptError, match=r"at most 77 tokens .* got"):
        load("sd15").encode_prompt("x" * 200)


@pytest.mark.parametrize("family", LATENT)
def test_latents_are_the_posterior_mean(family: str, generator: torch.Generator) -> None:
    prior, pipe = load(family), pipeline(family)
    image = torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1
    with torch.no_grad():
        wanted = pipe.vae.encode(image).latent_dist.mean * pipe.vae.config.scaling_factor
    x = image.clone().requires_grad_(True)
    latents = prior.encode(x)
    torch.testing.assert_close(latents, wanted, rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(latents.square().sum(), x)
    assert gradient.abs().max() > 0
    assert not any(p.requires_grad for p in prior.latents.vae.parameters())
    assert prior.latents.vae.decoder is None


def test_latents_are_normalised_as_the_folder_says(tmp_path: Path) -> None:
    path = copied("sdxl", tmp_path)
    file = path / "vae/config.json"
    config = json.loads(file.read_text())
    mean, spread = [-1.6, 0.7, 2.6, 4.2], [8.4, 5.3, 6.5, 4.3]
    file.write_text(json.dumps(config | {"latents_mean": mean, "latents_std": spread}))
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    plain, prior = load("sdxl"), load_prior(str(path), CPU)
    raw = plain.encode(image) / config["scaling_factor"]
    around, by = (torch.tensor(v).view(1, 4, 1, 1) for v in (mean, spread))
    wanted = (raw - around) * config["scaling_factor"] / by
    torch.testing.assert_close(prior.encode(image), wanted)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("family", "size", "pixels"),
    [("sd15", None, 512), ("sdxl", None, 1024), ("if-m", None, 64), ("sd15", [8, 16], 128)],
)
def test_the_size_a_folder_was_made_for(
    family: str, size: list[int] | None, pixels: int, tmp_path: Path
) -> None:
    path = copied(family, tmp_path)
    file = path / "unet/config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"sample_size": size}))
    assert load_prior(str(path), CPU).image_size == pixels


def _image_gradient(prior: Any, image: Tensor, toward: Tensor) -> Tensor:
    x = image.clone().requires_grad_(True)
    return torch.autograd.grad((prior.encode(x) * toward).sum(), x)[0]


def test_checkpointing_the_encoder_is_exact_and_tiles_are_close(
    generator: torch.Generator,
) -> None:
    image = torch.rand(1, 3, 64, 64, generator=generator) * 2 - 1
    toward = torch.randn(1, 4, 8, 8, generator=generator)
    plain = load("sd15")
    wanted = _image_gradient(plain, image, toward)
    checkpointed = load("sd15", vae_checkpointing=True)
    assert torch.equal(_image_gradient(checkpointed, image, toward), wanted)
    tiled = load("sd15", vae_tiling=True)
    assert _image_gradient(tiled, image, toward).shape == wanted.shape
    latents = tiled.encode(image)
    assert latents.shape == (1, 4, 8, 8)
    assert (_image_gradient(tiled, image, toward) != 0).float().mean() > 0.99
    assert tiled.encode(torch.zeros(1, 3, 96, 96)).shape == (1, 4, 12, 12)


def test_checkpointing_keeps_fewer_activations() -> None:
    kept = {}
    for name in (False, True):
        prior = load("sd15", vae_checkpointing=name)
        prior.load()
        sizes: list[int] = []
        image = torch.zeros(1, 3, 64, 64, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, sizes=sizes: sizes.append(x.numel()) or x, lambda x: x
        ):
            prior.encode(image)
        kept[name] = sum(sizes)
    assert kept[True] < 0.5 * kept[False]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_of_the_encoder(precision: str, generator: torch.Generator) -> None:
    """fp16 keeps the gradient within 1e-2 of float32's; bf16 has 8 times the rounding."""
    image = torch.rand(1, 3, 64, 64, generator=generator) * 2 - 1
    toward = torch.randn(1, 4, 8, 8, generator=generator)
    wanted = _image_gradient(load("sd15"), image, toward)
    got = _image_gradient(load("sd15", vae_precision=precision), image, toward)
    assert (got - wanted).norm() / wanted.norm() < {"fp16": 1e-2, "bf16": 8e-2}[precision]


def test_sdxls_encoder_stays_in_float32(tmp_path: Path) -> None:
    prior = load("sdxl", precision="fp16")
    assert (prior.dtype, prior.latents.dtype) == (torch.float16, torch.float32)
    assert load("sdxl", vae_precision="bf16").latents.dtype == torch.bfloat16


def test_the_linear_map_is_the_best_of_its_kind(generator: torch.Generator) -> None:
    prior = load("sd15")
    image = torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1
    image.requires_grad_(True)
    latents = prior.encode(image, linear=True)
    assert latents.shape == (2, 4, 8, 8)
    assert torch.autograd.grad(latents.sum(), image)[0].abs().min() > 0
    small = torch.nn.functional.avg_pool2d(image, 8)
    torch.testing.assert_close(prior.encode(small, linear=True), latents)
    assert 0 < prior.linear_residual < 1
    matrix, offset, residual = prior.latents.linear_map()
    assert (matrix.shape, offset.shape) == ((4, 3), (4,))
    assert torch.equal(matrix, load("sd15").latents.linear_map()[0])  # nothing in it is random
    assert residual == prior.linear_residual


@pytest.mark.parametrize(("precision", "bound"), [("fp16", 0.2), ("bf16", 1.6)])
def test_rounding_at_a_high_guidance_scale(precision: str, bound: float) -> None:
    """A half-precision network whose last layer is float32, against one that rounds its output.

    Rounding inside the network remains; bf16 has 8 times that of fp16.
    """
    noisy = noise_like(load("sd15"), 2)
    t = torch.tensor([300, 700])

    def asked(precision: str, rounded: bool) -> Tensor:
        prior = load("sd15", precision=precision)
        condition = prior.encode_prompt(PROMPT, views="none", negative=NEGATIVE)
        prior.load()
        if rounded:
            prior.unet.conv_out.register_forward_hook(lambda *args: args[2].to(prior.dtype))
        text, negative = prior.predict_noise(
            noisy, t, condition, cameras=None, textureless=PLAIN, conditions=("text", "negative")
        )
        return classifier_free_guidance(text, negative, 100.0)

    exact = asked("fp32", False)
    kept = (asked(precision, False) - exact).square().mean().sqrt()
    rounded = (asked(precision, True) - exact).square().mean().sqrt()
    print(f"{precision}: rms of eps_hat's error {kept:.4f}, with a rounded output {rounded:.4f}")
    assert kept < min(bound, rounded)


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_on_the_meta_device_are_the_parts_that_are_loaded(family: str) -> None:
    prior = load(family)
    meta = prior.meta_parts()
    assert {p.device.type for part in meta.values() for p in part.parameters()} == {"meta"}
    prior.load()
    assert size_of(meta["unet"]) == size_of(prior.unet) > 0
    if family in LATENT:
        assert size_of(meta["vae"]) == size_of(prior.latents.vae) > 0
    assert prior.text_bytes() > 0


@pytest.mark.parametrize("options", [{"attention_slicing": True}, {"offload": "model"}])
def test_memory_options_change_no_number(options: dict[str, Any]) -> None:
    def asked(**options: Any) -> Tensor:
        prior = load("sd15", **options)
        condition = prior.encode_prompt(PROMPT, views="none")
        return prior.predict_noise(
            noise_like(prior), torch.tensor([1, 600]), condition, cameras=None, textureless=PLAIN
        )

    torch.testing.assert_close(asked(**options), asked(), rtol=1e-4, atol=1e-5)


def test_compiling_is_told_and_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[dict[str, Any]] = []

    def compiled(network: Any, **options: Any) -> Any:
        asked.append(options)
        return lambda *args, **kwargs: (torch.zeros_like(network(*args, **kwargs)[0]),)

    monkeypatch.setattr(torch, "compile", compiled)
    prior = load("sd15", compile=True)
    condition = prior.encode_prompt(PROMPT, views="none")
    eps = prior.predict_noise(
        noise_like(prior), torch.tensor([1, 600]), condition, cameras=None, textureless=PLAIN
    )
    assert not eps.any()
    assert asked == [{"fullgraph": True, "dynamic": False}]
    assert capsys.readouterr().err == "dfast: compiling the UNet, about a minute\n"


def test_weights_that_come_and_go_are_not_recorded() -> None:
    assert load("sd15").cuda_graph_safe
    assert not load("sd15", offload="model").cuda_graph_safe


def test_an_image_size_that_latents_cannot_have() -> None:
    with pytest.raises(PriorError, match=r"prior\.image_size: expected a multiple of 8, got 100"):
        load("sd15", image_size=100)
    with pytest.raises(PriorError, match=r"prior\.image_size: expected a multiple of 2, got 17"):
        load("if-m", image_size=17)


SCHEDULES = [
    {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    {"beta_schedule": "linear"},
    {"beta_schedule": "squaredcos_cap_v2"},
    {"beta_schedule": "scaled_linear", "rescale_betas_zero_snr": True},
    {"trained_betas": [0.1, 0.2, 0.3], "num_train_timesteps": 3},
]


@pytest.mark.parametrize("settings", SCHEDULES)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_schedules_are_those_of_diffusers(
    settings: dict[str, Any], prediction: str, generator: torch.Generator
) -> None:
    from diffusers import DDIMScheduler

    theirs = DDIMScheduler(**settings, prediction_type=prediction)
    ours = NoiseSchedule(theirs.config)
    count = theirs.config.num_train_timesteps
    x = torch.randn(2, 3, 4, 4, generator=generator)
    noise = torch.randn(2, 3, 4, 4, generator=generator)
    t = torch.tensor([0, count - 1])
    alpha, sigma = (table[t].view(-1, 1, 1, 1) for table in ours.to(CPU))
    noisy = alpha * x + sigma * noise
    torch.testing.assert_close(noisy, theirs.add_noise(x, noise, t), rtol=0, atol=0)
    told = {"epsilon": noise, "v_prediction": theirs.get_velocity(x, noise, t), "sample": x}
    torch.testing.assert_close(ours.eps(told[prediction], noisy, t), noise, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta_schedule": "magic"}, "noise schedule"),
        ({"prediction_type": "flow"}, "prediction_type of epsilon, v_prediction, sample"),
        (
            {"_class_name": "EDMEulerScheduler", "sigma_data": 0.5, "prediction_type": "epsilon"},
            "a beta_schedule or trained_betas, got EDMEulerScheduler without",
        ),
    ],
)
def test_schedules_that_are_unknown(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(PriorError, match=message):
        NoiseSchedule(settings)


def test_files_as_they_were_published_in_2022(tmp_path: Path) -> None:
    """Other names in the VAE's attention and the text encoder; a tokenizer in two files."""
    path = copied("sd15", tmp_path)
    vae, text = path / "vae/diffusion_pytorch_model.safetensors", path / "text_encoder"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(vae)
    for new, name in old.items():
        tensors = {k.replace(new, name): v for k, v in tensors.items()}
    save_file(tensors, vae)
    tensors = load_file(text / "model.safetensors")
    assert not any(name.startswith("text_model.") for name in tensors)
    tensors = {f"text_model.{name}": tensor for name, tensor in tensors.items()}
    tensors["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(tensors, text / "model.safetensors", metadata={"format": "pt"})
    words = path / "tokenizer"
    made = json.loads((words / "tokenizer.json").read_text())
    (words / "vocab.json").write_text(json.dumps(made["model"]["vocab"]))
    (words / "merges.txt").write_text(
        "\n".join(["#version: 0.2", *map(" ".join, made["model"]["merges"])]) + "\n"
    )
    (words / "tokenizer.json").unlink()
    image = torch.rand(1, 3, 64, 64)
    today, then = load("sd15"), load_prior(str(path), CPU)
    assert torch.equal(then.encode(image), today.encode(image))  # type: ignore[attr-defined]
    told = [prior.encode_prompt("A red Chair").tables["hidden"] for prior in (today, then)]
    assert torch.equal(*told)


@pytest.mark.parametrize("family", FAMILIES)
def test_training_through_a_folder(family: str, needs_native: None, tmp_path: Path) -> None:
    import dfast

    config = dfast.Config.default().replace(
        camera={"views": 2, "resolution": [[0.0, 16]]}, train={"steps": 3, "log_every": 1}
    )
    losses: list[dict[str, float]] = []
    results = [
        dfast.train(
            PROMPT, prior=str(folder(family)), config=config, progress=False, device="cpu",
            callbacks=[lambda event: losses.append(event.metrics)],
        )
        for _ in range(2)
    ]  # fmt: skip
    first, second = (dict(result.field.named_parameters()) for result in results)
    assert all(torch.equal(first[name], second[name]) for name in first)  # same seed, same bytes
    assert all(loss["guidance"] > 0 and loss["gradient_norm"] > 0 for loss in losses)
    assert results[0].prior == str(folder(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_tuned_networks_say_the_same(
    family: str, needs_native: None, generator: torch.Generator
) -> None:
    """What is done on CUDA, on the CPU: tuning finds the parts of networks as they are loaded."""
    from dfast.priors.fused.blocks import FusedGroupNorm, FusedResnet
    from dfast.priors.fused.tune import tune

    plain, tuned = load(family), load(family)
    tuned.load()
    kinds = {type(m) for m in tune(tuned.unet).modules()}
    assert {FusedGroupNorm, FusedResnet} <= kinds

    def ask(prior: Any) -> Tensor:
        return prior.predict_noise(
            noise_like(prior), torch.tensor([1, 600]), prior.encode_prompt(PROMPT), cameras=orbit(2),
            textureless=PLAIN, conditions=("text", "null"),
        )  # fmt: skip

    wanted, got = ask(plain), ask(tuned)
    assert (got - wanted).norm() / wanted.norm() < 1e-5
    if family in LATENT:
        tune(tuned.latents.vae.encoder)
        image = torch.rand(1, 3, 64, 64, generator=generator) * 2 - 1
        toward = torch.randn(1, 4, 8, 8, generator=generator)
        wanted, got = (_image_gradient(p, image, toward) for p in (plain, tuned))
        assert (got - wanted).norm() / wanted.norm() < 1e-5


@pytest.mark.gpu
@pytest.mark.parametrize("options", [{}, {"tuned": False}, {"vae_checkpointing": True}])
@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_on_a_gpu(
    family: str, options: dict[str, Any], needs_cuda: None, generator: torch.Generator
) -> None:
    """Noise and the encoder's gradient near float32's, and the same when recorded and replayed."""
    cuda = torch.device("cuda")
    exact = load(family)
    prior: Any = load_prior(str(folder(family)), cuda, options=PriorConfig(**options))
    noisy, t, cameras = noise_like(exact), torch.tensor([40, 800]), orbit(2)

    def ask(prior: Any, device: torch.device, condition: Any) -> Tensor:
        return prior.predict_noise(
            noisy.to(device), t.to(device), condition, cameras=cameras.to(device),
            textureless=PLAIN.to(device), conditions=("text", "negative"),
        )  # fmt: skip

    wanted = ask(exact, CPU, exact.encode_prompt(PROMPT))
    condition = prior.encode_prompt(PROMPT)
    got = ask(prior, cuda, condition)
    assert got.dtype == torch.float32
    assert (got.cpu() - wanted).norm() / wanted.norm() < 2e-2
    assert prior.cuda_graph_safe
    arguments = noisy.cuda(), t.cuda(), cameras.to(cuda), PLAIN.cuda()

    def recorded() -> Tensor:
        return prior.predict_noise(
            arguments[0], arguments[1], condition, cameras=arguments[2],
            textureless=arguments[3], conditions=("text", "negative"),
        )  # fmt: skip

    torch.testing.assert_close(_replayed(recorded), got, rtol=1e-3, atol=1e-3)
    if family in LATENT:
        image = torch.rand(1, 3, 64, 64, generator=generator) * 2 - 1
        toward = torch.randn(1, 4, 8, 8, generator=generator)
        slope = _image_gradient(exact, image, toward)
        x, direction = image.cuda(), toward.cuda()
        eager = _image_gradient(prior, x, direction)
        assert (eager.cpu() - slope).norm() / slope.norm() < 1e-2
        again = _replayed(lambda: _image_gradient(prior, x, direction))
        torch.testing.assert_close(again, eager, rtol=1e-2, atol=1e-3 * float(eager.abs().max()))


def _replayed(function: Any) -> Tensor:
    """What `function` makes when it is recorded in a CUDA graph and replayed."""
    from dfast.training.cuda_graphs import CudaGraphCache

    graphs = CudaGraphCache(torch.device("cuda"))
    for _ in range(CudaGraphCache.WARMUP + 2):
        made = graphs.run("once", function)
    assert graphs.captures == 1
    return made.clone()
