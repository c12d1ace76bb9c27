"""One run of Score Distillation: its state, and the step that moves it."""

from __future__ import annotations

import torch
from torch import Tensor

from . import regularizers
from ._rng import Generators
from .background import Background
from .capture import Graphs, Staging
from .config import Config
from .errors import RunFolderError
from .field import Field
from .guards import Guard
from .guidance import Guidance
from .occupancy import OccupancyGrid
from .ops.adam import NORM, SKIPPED
from .optimizer import Adam
from .priors.base import Prior
from .renderer import Rendered, SampleBudget, render
from .schedules import level_weights, resolution
from .sds import inject
from .step_inputs import StepInputs, draw

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
        o = config.occupancy
        self.occupancy = OccupancyGrid(
            o.resolution, decay=o.decay, threshold=o.threshold, device=device
        )
        self.optimizer = self._new_optimizer()
        self.guard = Guard(
            config.train,
            self.optimizer.status,
            self._model_state,
            self._load_model_state,
            self._reseed,
        )
        self.budget = SampleBudget(device)
        self.graphs = Graphs(device, [self.rng.device], enabled=config.train.capture)
        self._wants_normals = max(config.regularizer.orientation) > 0
        self._recorded: tuple[object, ...] = ()
        self._staging = Staging(device)
        self.guidance = Guidance(config.guidance, prior, prompt, device)
        self._schedule = self.guidance.alpha.cpu(), self.guidance.sigma.cpu()

    def train_step(self) -> Metrics:
        """Sample, render, ask the prior, inject its answer at the image, regularise, step.

        On CUDA the tensors in the result may be the same ones at every call, written over by the
        next.
        """
        config = self.config
        size = resolution(self.step / config.train.steps, config.camera.resolution)
        inputs = self.draw()
        if self.step % config.occupancy.every == 0:
            self._refresh_occupancy(inputs.levels)
        capacity = self.budget.capacity(size)
        metrics = self._run(inputs, size, capacity)
        self.budget.note(metrics["samples"])
        self.step += 1
        last = self.step == config.train.steps
        if last or self.step % config.train.log_every == 1 % config.train.log_every:
            self.guard.look(metrics["fill"], list(self.field.parameters()), last=last)
        return {**metrics, "overflows": float(self.budget.overflows)}

    def draw(self) -> StepInputs:
        """The next step's inputs on the device, in the same tensors every time."""
        drawn = draw(
            self.config, self.step, self._schedule, self.background, self.field.spec.resolutions,
            self.rng.host,
        )  # fmt: skip
        return drawn.replace(self._staging.send(drawn.tensors()))

    def _run(self, inputs: StepInputs, size: int, capacity: int | None) -> dict[str, Tensor]:
        """`_device_step`, recorded where that is possible."""
        linear = self.guidance.linear(self.step / self.config.train.steps)
        if not self.guidance.capturable or (self.graphs.enabled and capacity is None):
            return self._device_step(inputs, size, capacity, linear)
        kind = ("step", size, capacity, linear)
        if kind != self._recorded:  # an outgrown buffer, or a phase, will not come back
            self.graphs.drop(lambda key: key[:1] == ("step",))
            self._recorded = kind
        normals = inputs.shading.lit or self._wants_normals
        return self.graphs.run(
            (*kind, normals), lambda: self._device_step(inputs, size, capacity, linear)
        )

    def _device_step(
        self, inputs: StepInputs, size: int, capacity: int | None, linear: bool
    ) -> dict[str, Tensor]:
        """The step as a function of tensors on the device: nothing here may ask what is in them."""
        config, rng = self.config, self.rng
        pictures = render(
            self.field, self.occupancy, self.background, inputs.colors, inputs.cameras,
            inputs.shading, size, config.march, level_weights=inputs.levels, generator=rng.device,
            capacity=capacity, want_normals=self._wants_normals,
        )  # fmt: skip
        x = self.guidance.model_space(pictures.image, linear=linear)
        gradient = self.guidance.gradient(x, inputs, rng.device)
        # A mean over pixels of what the model diffuses, as the regularisers are over the picture's.
        loss = inject(x, gradient) / (len(x) * x.shape[-2] * x.shape[-1])
        loss = loss + self._regularize(pictures, inputs.orientation)
        parameters = list(self.optimizer.parameters.values())
        gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
        self.optimizer.step(gradients, inputs.factor, {"field.table": self.field.storage})
        status = self.optimizer.status.clone()
        return {
            "gradient_norm": status[NORM],
            "opacity": pictures.opacity.detach().mean(),
            "fill": pictures.fill,
            "guidance": gradient.square().mean().sqrt(),
            "samples": pictures.rays.samples.num_samples[0],
            "skipped": status[SKIPPED],
        }

    def _refresh_occupancy(self, levels: Tensor) -> None:
        config = self.config.occupancy
        warmup = self.step < config.warmup_steps
        self.graphs.run(
            ("occupancy", warmup),
            lambda: self.occupancy.update(
                lambda x: self.field.density(x, levels),
                self.rng.device,
                fraction=config.fraction,
                warmup=warmup,
            ),
        )

    def _regularize(self, pictures: Rendered, toward: Tensor) -> Tensor | float:
        """toward: [1], the orientation term's weight now."""
        config, rays = self.config.regularizer, pictures.rays
        loss: Tensor | float = 0.0
        if self._wants_normals:
            loss = loss + toward[0] * regularizers.orientation(rays.orientation)
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
        self.graphs.drop()
        self.occupancy.reset()
        levels = level_weights(1.0, self.field.spec.resolutions, self.config.coarse_to_fine)
        levels = None if levels is None else levels.to(self.device)
        generator = torch.Generator(self.device).manual_seed(self.seed)
        for _ in range(4):
            self.occupancy.update(lambda x: self.field.density(x, levels), generator, warmup=True)

    def _new_optimizer(self) -> Adam:
        o, named = self.config.optimizer, self._named()
        rates = {"field.table": o.lr_grid}
        groups = [
            ({name: p}, rates.get(name, o.lr_mlp if name.startswith("field.") else o.lr_background))
            for name, p in named.items()
        ]
        return Adam(groups, betas=o.betas, eps=o.eps)

    def _reseed(self) -> None:
        """A new scene in the old one's memory, where recorded steps look for it."""
        self.field.reset(self.rng.host)
        self.optimizer.reset()
        self.occupancy.reset()

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
        state |= {f"adam.{k}": v for k, v in self.optimizer.state_dict().items()}
        return state | {f"occupancy.{k}": v for k, v in self.occupancy.state_dict().items()}

    @torch.no_grad()
    def _load_model_state(self, state: dict[str, Tensor]) -> None:
        """In place throughout, for the sake of recorded steps."""
        for name, p in self._named().items():
            p.copy_(state[name])
        self.optimizer.load_state_dict(_under(state, "adam."))
        self.occupancy.load_state_dict(_under(state, "occupancy."))
        self.field.refresh_storage()


def _under(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
