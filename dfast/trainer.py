"""One run of Score Distillation: its state, and the step that moves it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from . import regularizers
from ._rng import Generators
from .background import Background
from .cameras import sample_cameras
from .config import Config
from .errors import RunFolderError
from .field import Field
from .guards import Guard
from .occupancy import OccupancyGrid
from .priors.base import Prior
from .renderer import Rendered, SampleBudget, render
from .schedules import learning_rate, level_weights, ramp, resolution, t_range
from .sds import add_noise, inject, sample_timesteps, sds_gradient, weight
from .shading import sample_shading

Metrics = dict[str, Tensor | float]
"""Numbers of one step; tensors are scalars on the device, read only when somebody asks."""


class Trainer:
    """Everything a run needs. Everything that changes is in `state_dict`: loading it continues the
    run.

    On the CPU the same seed gives the same bytes, interrupted or not.
    """

    def __init__(
        self, config: Config, prior: Prior, prompt: str, seed: int, device: torch.device
    ) -> None:
        self.config, self.prior, self.prompt, self.seed, self.device = (
            config,
            prior,
            prompt,
            seed,
            device,
        )
        self.step = 0
        self.rng = Generators.seeded(seed, device)
        self.field = Field(config.field, self.rng.host).to(device)
        self.field.refresh_storage()
        self.background = Background(config.background, self.rng.host).to(device)
        self.occupancy = self._new_occupancy()
        o = config.optimizer
        groups = [
            {"params": [self.field.table], "rate": o.lr_grid},
            {"params": [self.field.mlp], "rate": o.lr_mlp},
        ]
        if behind := list(self.background.parameters()):
            groups.append({"params": behind, "rate": o.lr_background})
        self.optimizer = torch.optim.Adam(groups, lr=1.0, betas=o.betas, eps=o.eps, fused=True)
        self.guard = Guard(
            config.train, device, self._model_state, self._load_model_state, self._reseed
        )
        self.budget = SampleBudget(device)
        self._resizers: dict[int, Tensor] = {}
        self.alpha, self.sigma = prior.alphas(device)
        self.condition = prior.embed(prompt, views=config.guidance.view_words)

    def train_step(self) -> Metrics:
        """Sample, render, ask the prior, inject its answer at the image, regularise, step."""
        config, rng, guidance = self.config, self.rng, self.config.guidance
        now = self.step / config.train.steps
        n, size = config.camera.views, resolution(now, config.camera.resolution)
        levels = self._prepare(now)

        cameras = sample_cameras(config.camera, n, rng.host)
        shading = sample_shading(config.shading, config.light, cameras, now, rng.host)
        colors = self._move(self.background.sample_colors(n, rng.host))
        t = sample_timesteps(n, *t_range(now, guidance), len(self.alpha), rng.host)
        t = self._move(t)
        cameras, shading = cameras.to(self.device), shading.to(self.device)

        pictures = render(
            self.field, self.occupancy, self.background, colors, cameras, shading, size,
            config.march, level_weights=levels, generator=rng.device,
            capacity=self.budget.capacity(size),
            want_normals=max(config.regularizer.orientation) > 0,
        )  # fmt: skip
        self.budget.note(pictures.rays.samples)
        x = self._model_space(pictures.image)
        noise = torch.randn(x.shape, generator=rng.device, device=self.device)
        with torch.no_grad():
            alpha, sigma = self.alpha[t], self.sigma[t]
            predicted = self.prior.predict_noise(
                add_noise(x, noise, alpha, sigma),
                t,
                self.condition,
                cameras=None if guidance.view_words == "none" else cameras,
                textureless=shading.textureless > 0.5,
                guidance=guidance.scale,
            )
            gradient = sds_gradient(predicted, noise, weight(alpha, sigma, guidance.weighting))

        loss = inject(x, gradient) / (n * x.shape[-1] ** 2) + self._regularize(pictures, now)
        self.optimizer.zero_grad()
        loss.backward()
        norm = self.guard.step(self.optimizer)
        self.field.refresh_storage()
        self.step += 1
        last = self.step == config.train.steps
        if last or self.step % config.train.log_every == 1 % config.train.log_every:
            self.guard.look(pictures.fill, list(self.field.parameters()), last=last)
        return {
            "gradient_norm": norm,
            "opacity": pictures.opacity.detach().mean(),
            "fill": pictures.fill,
            "guidance": gradient.square().mean().sqrt(),
            "samples": pictures.rays.samples.total[0],
            "skipped": self.guard.skipped,
            "overflows": float(self.budget.overflows),
        }

    def _prepare(self, now: float) -> Tensor | None:
        """Set the learning rates, refresh the occupancy when due; returns the level weights."""
        config = self.config
        factor = learning_rate(self.step, config.train.steps, config.optimizer)
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * factor
        levels = level_weights(now, self.field.spec.resolutions, config.coarse_to_fine)
        levels = None if levels is None else self._move(levels)
        if self.step % config.occupancy.every == 0:
            self.occupancy.update(
                lambda x: self.field.density(x, levels),
                self.rng.device,
                fraction=config.occupancy.fraction,
                warmup=self.step < config.occupancy.warmup_steps,
            )
        return levels

    def _move(self, values: Tensor) -> Tensor:
        """From the host to the device, without waiting for what runs there."""
        return values.to(self.device, non_blocking=True)

    def _model_space(self, image: Tensor) -> Tensor:
        """[B,3,H,W] in [0, 1] to the prior's size and [-1, 1]."""
        size = self.prior.image_size
        if image.shape[-1] != size:
            along = self._resize_matrix(image.shape[-1], size)
            image = along @ image @ along.t()
        return 2.0 * image - 1.0

    def _resize_matrix(self, size: int, to: int) -> Tensor:
        """[to,size], antialiased bilinear. Two products have a deterministic gradient on every
        device.
        """
        if size not in self._resizers:
            eye = torch.eye(size)[None, None]
            self._resizers[size] = self._move(
                interpolate(eye, (to, size), mode="bilinear", antialias=True)[0, 0]
            )
        return self._resizers[size]

    def _regularize(self, pictures: Rendered, now: float) -> Tensor | float:
        config, rays = self.config.regularizer, pictures.rays
        loss: Tensor | float = 0.0
        toward = ramp(now, *config.orientation, config.orientation_until)
        if toward > 0:
            loss = loss + toward * regularizers.orientation(rays.orientation)
        if config.opacity > 0:
            loss = loss + config.opacity * regularizers.opacity(pictures.opacity)
        if config.entropy > 0:
            loss = loss + config.entropy * regularizers.entropy(pictures.opacity)
        if config.total_variation > 0:
            loss = loss + config.total_variation * regularizers.total_variation(pictures.opacity)
        return loss

    def finish(self) -> None:
        """Bring every occupancy cell up to date with the trained field, drawing from no run
        generator.
        """
        self.occupancy = self._new_occupancy()
        levels = level_weights(1.0, self.field.spec.resolutions, self.config.coarse_to_fine)
        levels = None if levels is None else levels.to(self.device)
        generator = torch.Generator(self.device).manual_seed(self.seed)
        for _ in range(4):
            self.occupancy.update(lambda x: self.field.density(x, levels), generator, warmup=True)

    def _new_occupancy(self) -> OccupancyGrid:
        o = self.config.occupancy
        return OccupancyGrid(o.resolution, decay=o.decay, threshold=o.threshold).to(self.device)

    def _reseed(self) -> None:
        self.field.reset(self.rng.host)
        self.optimizer.state.clear()
        self.occupancy = self._new_occupancy()

    def state_dict(self) -> dict[str, Tensor]:
        """Flat tensors: model, Adam, occupancy, random state, guards and step."""
        state = self._model_state()
        state.update({f"rng.{k}": v for k, v in self.rng.state_dict().items()})
        state.update({f"guard.{k}": v for k, v in self.guard.state_dict().items()})
        return state | {"step": torch.tensor(self.step)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from `state`. Raises RunFolderError when it does not fit this configuration."""
        try:
            self._load_model_state(state)
            self.rng.load_state_dict(_under(state, "rng."))
            self.guard.load_state_dict(_under(state, "guard."))
            self.step = int(state["step"])
        except (KeyError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise RunFolderError(f"checkpoint: does not fit this run ({reason})") from error

    def _named(self) -> dict[str, Tensor]:
        modules = (("field", self.field), ("background", self.background))
        return {f"{name}.{k}": p for name, module in modules for k, p in module.named_parameters()}

    def _model_state(self) -> dict[str, Tensor]:
        """Live tensors of all that a rewind brings back."""
        state = {name: p.detach() for name, p in self._named().items()}
        for name, p in self._named().items():
            for key, value in self.optimizer.state.get(p, {}).items():
                state[f"adam.{key}.{name}"] = value
        return state | {f"occupancy.{k}": v for k, v in self.occupancy.state_dict().items()}

    @torch.no_grad()
    def _load_model_state(self, state: dict[str, Tensor]) -> None:
        self.optimizer.state.clear()
        for name, p in self._named().items():
            p.copy_(state[name])
            for key in ("step", "exp_avg", "exp_avg_sq"):
                if f"adam.{key}.{name}" in state:
                    value = state[f"adam.{key}.{name}"].to(p.device, copy=True)
                    self.optimizer.state[p][key] = value
        self.occupancy.load_state_dict(_under(state, "occupancy."))
        self.field.refresh_storage()


def _under(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
