"""Tuned diffusion models: what diffusers computes, in fewer kernels."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from diffusers.models.downsampling import Downsample2D
from torch import Tensor, nn

from dfast.priors.fused import attention, chunked_attention, tune
from dfast.priors.fused.encoder import FusedDownsample
from dfast.priors.fused.resnets import TimeProjections

pytestmark = pytest.mark.usefixtures("needs_native")

CPU = torch.device("cpu")
STABLE: dict[str, Any] = {
    "sample_size": 16,
    "block_out_channels": (32, 64, 64),
    "layers_per_block": 1,
    "cross_attention_dim": 24,
    "attention_head_dim": 4,
    "norm_num_groups": 8,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
}
XL = {**STABLE, "use_linear_projection": True, "transformer_layers_per_block": 2}
FLOYD: dict[str, Any] = {
    "sample_size": 16,
    "in_channels": 3,
    "out_channels": 6,
    "block_out_channels": (32, 64, 64),
    "layers_per_block": 2,
    "attention_head_dim": 8,
    "norm_num_groups": 8,
    "down_block_types": (
        "ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D", "SimpleCrossAttnDownBlock2D",
    ),
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "up_block_types": (
        "SimpleCrossAttnUpBlock2D", "SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D",
    ),
    "cross_attention_dim": 32,
    "encoder_hid_dim": 24,
    "encoder_hid_dim_type": "text_proj",
    "addition_embed_type": "text",
    "addition_embed_type_num_heads": 4,
    "resnet_time_scale_shift": "scale_shift",
    "time_embedding_act_fn": "gelu",
    "act_fn": "gelu",
    "cross_attention_norm": "group_norm",
    "mid_block_scale_factor": 1.414,
    "resnet_out_scale_factor": 1.414,
    "resnet_skip_time_act": True,
}  # fmt: skip
KINDS = {
    "stable": STABLE,
    "xl": XL,
    "floyd": FLOYD,
    "floyd-text-only": {**FLOYD, "only_cross_attention": True, "resnet_skip_time_act": False},
}


def filled(module: nn.Module, device: torch.device) -> nn.Module:
    """Random weights of which none is special: norms neither 1 nor 0, biases that count."""
    g = torch.Generator().manual_seed(0)
    for p in module.parameters():
        scale = p[0].numel() ** -0.5 if p.ndim > 1 else 0.3
        p.data.copy_(scale * torch.randn(p.shape, generator=g) + 0.5 * (p.ndim == 1))
    module = module.eval().requires_grad_(False).to(device)
    return module.to(memory_format=torch.channels_last)


def make_unet(kind: str, device: torch.device = CPU) -> nn.Module:
    from diffusers import UNet2DConditionModel

    return filled(UNet2DConditionModel(**KINDS[kind]), device)


def make_vae(device: torch.device) -> nn.Module:
    from diffusers import AutoencoderKL

    return filled(
        AutoencoderKL(
            block_out_channels=(32, 64, 64),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            norm_num_groups=8,
            layers_per_block=2,
        ),
        device,
    )


def inputs(unet: Any, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    g, like = torch.Generator().manual_seed(1), unet.conv_in.weight
    shapes = ((batch, unet.config.in_channels, 16, 16), (batch, 7, 24))
    x, text = (torch.randn(*shape, generator=g).to(like) for shape in shapes)
    return x, torch.tensor([5, 500], device=like.device)[:batch], text


def error(got: Tensor, want: Tensor) -> float:
    got, want = got.detach().double(), want.detach().double()
    return float((got - want).norm() / want.norm())


@pytest.fixture(autouse=True)
def whole_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 is float32: cuDNN would round it to TF32's ten bits."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_tuned_unet_predicts_what_it_did(kind: str, device: torch.device) -> None:
    unet: Any = make_unet(kind, device)
    tuned: Any = tune(copy.deepcopy(unet))
    x, t, text = inputs(unet)
    with torch.no_grad():
        want = unet(x, t, text, return_dict=False)[0]
        assert error(tuned(x, t, text, return_dict=False)[0], want) < 1e-5
        assert error(tuned(x, t, text).sample, want) < 1e-5
    g = torch.randn_like(want)
    gradients = [
        torch.autograd.grad(m(x.requires_grad_(), t, text, return_dict=False)[0], x, g)[0]
        for m in (unet, tuned)
    ]
    assert error(gradients[1], gradients[0]) < 1e-5


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_part_is_recognised(kind: str) -> None:
    """What is left as it was has no faster form here."""
    tuned: Any = tune(make_unet(kind))
    names = {type(m).__name__ for m in tuned.modules()}
    assert not names & {"GroupNorm", "ResnetBlock2D", "Transformer2DModel", "GEGLU"}
    processors = {type(p).__name__ for p in tuned.attn_processors.values()}
    assert processors == {"PixelAttention" if kind.startswith("floyd") else "RowAttention"}
    assert isinstance(tuned.conv_act, nn.Identity)
    assert type(tuned.time_embed_act) is TimeProjections


@pytest.mark.parametrize("kind", ["stable", "floyd"])
def test_masks_of_the_text_count(kind: str, device: torch.device) -> None:
    unet: Any = make_unet(kind, device)
    tuned: Any = tune(copy.deepcopy(unet))
    x, t, text = inputs(unet)
    mask = torch.ones(2, 7, device=device)
    mask[:, 4:] = 0
    options = {"encoder_attention_mask": mask}
    with torch.no_grad():
        want = unet(x, t, text, return_dict=False, **options)[0]
        got = tuned(x, t, text, return_dict=False, **options)[0]
        plain = tuned(x, t, text, return_dict=False)[0]
    assert error(got, want) < 1e-5
    assert error(plain, want) > 1e-4


def test_a_tuned_encoder_has_the_same_gradient(device: torch.device) -> None:
    vae: Any = make_vae(device)
    tuned: Any = copy.deepcopy(vae)
    tune(tuned.encoder)
    g = torch.Generator().manual_seed(2)
    image = torch.randn(1, 3, 32, 32, generator=g).to(device).requires_grad_()
    want, got = (m.quant_conv(m.encoder(image)) for m in (vae, tuned))
    assert error(got, want) < 1e-5
    upstream = torch.randn(want.shape, generator=g).to(device)
    expected, found = (torch.autograd.grad(z, image, upstream)[0] for z in (want, got))
    assert error(found, expected) < 1e-5
    assert type(tuned.decoder.conv_norm_out) is nn.GroupNorm
    conv = tuned.encoder.conv_in
    assert torch.equal(tuned.encoder.down_blocks[0].resnets[0].before_norm1, conv.bias)
    assert error(conv(image), vae.encoder.conv_in(image)) > 0.01  # no bias


@pytest.mark.parametrize("size", [(32, 32), (7, 10), (2, 3)])
def test_downsampling_pads_the_far_edges(size: tuple[int, int], device: torch.device) -> None:
    plain = filled(Downsample2D(8, use_conv=True, out_channels=8, padding=0), device)
    fused: Any = tune(nn.Sequential(copy.deepcopy(plain)).eval())[0]
    assert type(fused) is FusedDownsample
    g = torch.Generator().manual_seed(3)
    x = torch.randn(2, 8, *size, generator=g).to(device)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    want, got = plain(x), fused(x)
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert error(got, want) < 1e-6
    upstream = torch.randn(want.shape, generator=g).to(device)
    expected, found = (torch.autograd.grad(y, x, upstream)[0] for y in (want, got))
    assert error(found, expected) < 1e-6


@pytest.mark.parametrize("setting", [{"padding": 1}, {"use_conv": False}, {"kernel_size": 5}])
def test_other_downsampling_stays(setting: dict[str, Any]) -> None:
    layer = Downsample2D(8, **({"use_conv": True, "padding": 0} | setting))
    part: Any = tune(nn.Sequential(layer).eval().requires_grad_(False))
    part = part[0]
    assert type(part) is Downsample2D


def test_blocks_of_a_transformer_are_one_op_a_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    """All norms of a UNet without a gradient; with one, they are those of diffusers."""
    unet: Any = make_unet("stable")
    tuned: Any = tune(copy.deepcopy(unet))
    norms = [m for m in tuned.modules() if type(m) is nn.LayerNorm]
    called: list[nn.Module] = []
    plain = nn.LayerNorm.forward

    def counted(norm: nn.LayerNorm, x: Tensor) -> Tensor:
        called.append(norm)
        return plain(norm, x)

    monkeypatch.setattr(nn.LayerNorm, "forward", counted)
    with torch.no_grad():
        tuned(*inputs(unet))
    assert len(norms) > 2 and not called
    tuned(*inputs(unet))
    assert len(called) == len(norms) and set(called) == set(norms)


@pytest.mark.parametrize("part", ["BasicTransformerBlock", "LayerNorm"])
def test_hooks_are_heard(part: str) -> None:
    unet: Any = make_unet("stable")
    tuned: Any = tune(copy.deepcopy(unet))
    counts = []
    for network in (unet, tuned):
        heard: list[int] = []
        for module in network.modules():
            if type(module).__name__ == part:
                module.register_forward_hook(lambda *_, heard=heard: heard.append(1))
        with torch.no_grad():
            network(*inputs(unet))
        counts.append(len(heard))
    assert counts[0] == counts[1] > 2


def test_a_tuned_encoder_works_under_transforms() -> None:
    vae: Any = make_vae(CPU)
    tuned: Any = tune(copy.deepcopy(vae.encoder))
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    want, got = (
        torch.func.grad(lambda y, m=m: m(y).square().sum())(x) for m in (vae.encoder, tuned)
    )
    assert error(got, want) < 1e-5


def test_float64_stays_float64() -> None:
    unet: Any = make_unet("stable").double()
    tuned: Any = tune(copy.deepcopy(unet))
    x, t, text = inputs(unet)
    with torch.no_grad():
        want, got = (m(x, t, text.double(), return_dict=False)[0] for m in (unet, tuned))
    assert error(got, want) < 1e-13


VAES = {
    "sdxl": ("AutoencoderKL", {"latent_channels": 4}),
    "sd3, FLUX.1 and Z-Image": ("AutoencoderKL", {"latent_channels": 16, "use_quant_conv": False}),
    "flux2": ("AutoencoderKLFlux2", {"latent_channels": 32}),
}
"""The published encoders, by what they encode for."""


@pytest.mark.parametrize("family", list(VAES))
def test_the_attention_of_published_encoders_is_in_chunks(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have one attention, with one head of 512 channels and without a mask."""
    import diffusers

    name, options = VAES[family]
    sizes = (128, 256, 512, 512)
    if name == "AutoencoderKL":
        options = options | {
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
        }
    vae = getattr(diffusers, name)(block_out_channels=sizes, layers_per_block=1, **options)
    encoder: Any = filled(vae.encoder, CPU)
    tuned: Any = tune(copy.deepcopy(encoder))
    shapes: list[tuple[int, ...]] = []

    def counted(*x: Tensor) -> Tensor:
        shapes.append(tuple(x[0].shape))
        return chunked_attention.chunked_attention(*x)

    monkeypatch.setattr(attention, "chunked_attention", counted)
    monkeypatch.setattr(chunked_attention, "CHUNK_SCORES", 300)
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2)).requires_grad_()
    want, got = encoder(image), tuned(image)
    assert shapes == [(2, 16, 512)]
    assert error(got, want) < 1e-5
    expected, found = (torch.autograd.grad(z.square().sum(), image)[0] for z in (want, got))
    assert error(found, expected) < 1e-5


@pytest.mark.parametrize("limits", [(16, 1 << 26), (16, 1), (256, 1 << 26)])
def test_wide_heads(
    limits: tuple[int, int], monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    """By two products where the head is wide and the scores are few."""
    monkeypatch.setattr(attention, "MAX_FLASH_HEAD_SIZE", limits[0])
    monkeypatch.setattr(attention, "MAX_SCORES", limits[1])
    g = torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(2, n, 64, generator=g).to(device) for n in (10, 7, 7))
    got = attention.attend(q, k, v, 2)
    heads = [x.view(2, -1, 2, 32).transpose(1, 2) for x in (q, k, v)]
    weights = (heads[0] @ heads[1].mT / 32**0.5).softmax(-1)
    want = (weights @ heads[2]).transpose(1, 2).reshape(2, 10, 64)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("length", [4, 6])
def test_attention_to_itself_may_be_given_a_text(length: int, device: torch.device) -> None:
    from diffusers.models.attention_processor import Attention

    layer: Any = filled(Attention(32, heads=2, dim_head=16), device)
    tuned: Any = tune(copy.deepcopy(layer))
    g = torch.Generator().manual_seed(4)
    x, text = (torch.randn(2, n, 32, generator=g).to(device) for n in (6, length))
    for given in (None, text):
        want = layer(x, encoder_hidden_states=given)
        assert error(tuned(x, encoder_hidden_states=given), want) < 1e-5


def test_weights_keep_their_place() -> None:
    """The state dict is what it was, and joined products share its memory."""
    unet: Any = make_unet("stable")
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    after = tune(unet).state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    attention = next(
        m for m in unet.modules() if isinstance(getattr(m, "own_weight", None), Tensor)
    )
    assert attention.to_q.weight.data_ptr() == attention.own_weight.data_ptr()


def test_twice_is_once() -> None:
    unet: Any = tune(make_unet("stable"))
    x, t, text = inputs(unet)
    with torch.no_grad():
        once = unet(x, t, text).sample
        assert torch.equal(tune(unet)(x, t, text).sample, once)


def test_what_is_unusual_is_left_alone() -> None:
    from diffusers.models.attention_processor import Attention, AttnProcessor
    from diffusers.models.resnet import ResnetBlock2D

    odd = [
        ResnetBlock2D(in_channels=32, temb_channels=None, non_linearity="mish"),
        Attention(32, heads=2, dim_head=16, rescale_output_factor=2.0),
        Attention(32, heads=2, dim_head=16, processor=AttnProcessor()),
        nn.GroupNorm(2, 4, affine=False),
    ]
    for module in odd:
        kind, processor = type(module), getattr(module, "processor", None)
        tune(module.eval().requires_grad_(False))
        assert type(module) is kind and getattr(module, "processor", None) is processor


def test_a_module_that_trains_is_refused() -> None:
    for module in (nn.GroupNorm(2, 4).eval(), nn.GroupNorm(2, 4).requires_grad_(False)):
        with pytest.raises(ValueError, match="eval mode with frozen parameters"):
            tune(module)


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_cuda")
@pytest.mark.parametrize("storage", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", list(KINDS))
def test_half_precision_replays_in_a_graph(kind: str, storage: torch.dtype) -> None:
    """Within the rounding of float32's result, and without asking the host."""
    unet: Any = make_unet(kind, torch.device("cuda"))
    x, t, text = inputs(unet)
    with torch.no_grad():
        want = unet(x, t, text).sample
        tuned: Any = tune(unet.to(storage))
        x, text = x.to(storage, memory_format=torch.channels_last), text.to(storage)
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            tuned(x, t, text)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            got = tuned(x, t, text).sample
        graph.replay()
    assert error(got, want) < (1e-2 if storage == torch.float16 else 5e-2)


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_cuda")
def test_the_gradient_of_the_image_in_half_precision() -> None:
    vae: Any = make_vae(torch.device("cuda"))
    g = torch.Generator().manual_seed(2)
    image = torch.randn(1, 3, 64, 64, generator=g).cuda().requires_grad_()
    z = vae.quant_conv(vae.encoder(image))
    upstream = torch.randn(z.shape, generator=g).cuda()
    (want,) = torch.autograd.grad(z, image, upstream)
    tuned: Any = vae.half()
    tune(tuned.encoder)
    half = image.detach().half().requires_grad_()
    (got,) = torch.autograd.grad(tuned.quant_conv(tuned.encoder(half)), half, upstream.half())
    assert error(got, want) < 1e-2
