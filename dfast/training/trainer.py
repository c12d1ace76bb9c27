"""Training: the state of a run, and the step that changes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from dfast.config import Config
from dfast.config.schedules import resolution
from dfast.errors import ConfigError, RunFolderError
from dfast.guidance.base import Guidance
from dfast.guidance.sds import sds_loss
from dfast.ops.adam import NORM, SKIPPED
from dfast.priors.base import Approximation
from dfast.render.options import NORMALS, Normals, RenderOptions
from dfast.render.outputs import Rendering
from dfast.render.volume import render
from dfast.scene.scene import Scene
from dfast.scene.stored import find_fault, find_misfit
from dfast.training.adam import NamedAdam
from dfast.training.average import ParameterAverage
from dfast.training.cuda_graphs import CudaGraphCache
from dfast.training.generators import Generators
from dfast.training.health import REMEDIES, HealthCheck, Remedies
from dfast.training.input_stream import InputStream
from dfast.training.losses import Loss, regularizer_losses
from dfast.training.model_state import ModelState, under
from dfast.training.ranks import Ranks
from dfast.training.sample_budget import SampleBudget
from dfast.training.step_inputs import StepInputs, draw

Metrics = dict[str, Tensor | float]
"""Numbers of one step. Tensors are scalars on the device: reading one waits for the step."""


class Step(NamedTuple):
    """What is decided on the host before a step's work on the device."""

    inputs: StepInputs
    """On the device."""
    size: int
    """Pixels a side."""
    max_samples: int | None
    """Samples to reserve memory for; None counts them."""
    approximate: Approximation
    """How the images' encoder is approximated."""
    lit: bool
    """Normals are needed."""
    subject: int = 0
    """Which of several scenes is shown; 0 is the whole."""


class Trainer:
    """One run: a scene that is optimised under a guidance.

    All that changes is in `state_dict`, and loading it continues that run, also where this trainer
    began with another seed. On the CPU the same seed gives the same bytes, interrupted or not.
    `dfast.training.build_trainer` makes a trainer from a prior and a prompt.

    Attributes:
        config: all settings.
        device: of the scene, and of all work but the draws of `generators.host`.
        scene: what is optimised; its tensors stay in their memory.
        guidance: gives the gradient on images.
        losses: the losses beside the guidance, by name.
        generators: all randomness of the run.
        step: number of steps done.
        optimizer: of the scene's parameters.
        model: what a rewind brings back.
        health: rewinds or resets the run, or ends it with an error.
        budget: how many samples to reserve memory for.
        graphs: the CUDA graphs of the step.
        prompt: recorded in results.
        prior_name: recorded in results.
    """

    def __init__(
        self,
        config: Config,
        scene: Scene,
        guidance: Guidance,
        generators: Generators,
        *,
        losses: Mapping[str, Loss] | None = None,
        prompt: str = "",
        prior_name: str = "",
        ranks: Ranks | None = None,
    ) -> None:
        """Begin a run.

        Args:
            config: schedules, distributions and limits.
            scene: on the device of the run.
            guidance: on the same device.
            generators: of the run; the scene may have been drawn from them.
            losses: beside the guidance, by name; None takes the regularisers of the configuration.
            prompt: what the scene is to show.
            prior_name: of the prior behind the guidance.
            ranks: the processes that make this object together; None for this one alone.

        Raises:
            ConfigError: if the views, or the guidance, cannot be shared by the processes.
        """
        self.ranks = ranks or Ranks()
        self.ranks.check_views(config.camera.views, config.camera.ring)
        if self.ranks.size > 1 and any(True for _ in guidance.parameters()):
            raise ConfigError(
                "distributed: expected one process with a guidance that trains a copy of its prior "
                f"(guidance.variant = {config.guidance.variant!r}), got {self.ranks.size}"
            )
        self.config, self.scene, self.guidance = config, scene, guidance
        self.generators, self.prompt, self.prior_name = generators, prompt, prior_name
        self.losses = regularizer_losses(config.regularizer) if losses is None else dict(losses)
        self.device, self.step = scene.device, 0
        groups = [({name: p}, self._rate(name)) for name, p in scene.named_parameters()]
        self.optimizer = NamedAdam(groups, betas=config.optimizer.betas, eps=config.optimizer.eps)
        averaged = config.train.average_from < 1.0
        average = ParameterAverage(self.optimizer.parameters) if averaged else None
        self.model = ModelState(scene, self.optimizer, guidance, generators.host, average)
        advice = REMEDIES.get(config.method.name, Remedies())
        self.health = HealthCheck(config.train, self.optimizer.status, self.model, advice)
        self.budget = SampleBudget(self.device, tight=self._computes_reserved())
        self.graphs = CudaGraphCache(
            self.device, [generators.device], enabled=config.train.cuda_graphs
        )
        alpha, sigma = guidance.noise_schedule
        self._schedule = alpha.cpu(), sigma.cpu()
        self._inputs = InputStream(generators.seed, self.device, self._draw)
        wanted = {loss.normals for loss in self.losses.values()}
        self._normals: Normals = max(wanted | {"none"}, key=NORMALS.index)
        self._graph_key: tuple[object, ...] = ()

    @property
    def seed(self) -> int:
        """The seed of the run, or of the one whose state was loaded."""
        return self.generators.seed

    @property
    def progress(self) -> float:
        """Fraction of the run that is done."""
        return self.step / self.config.train.steps

    def train_step(self) -> Metrics:
        """Sample views, render them, and follow the guidance's gradient and the losses.

        Returns:
            Numbers of the step: `gradient_norm` of all parameters, mean `opacity`, mean opacity
            inside the bounding sphere `fill`, root mean square of the `guidance`'s gradient,
            number of `samples`, and the counts so far of `skipped` steps and of `overflows`. On
            CUDA the tensors may be the same ones at every call, overwritten by the next.

        Raises:
            NonFiniteError: when rewinding does not help.
            CollapsedError: when resetting the scene does not help.
        """
        return self.end_step(self._run(self.begin_step()))

    def begin_step(self) -> Step:
        """Draw a step's inputs, and bring the occupancy up to date if that is due."""
        size = resolution(self.progress, self.config.camera.resolution)
        inputs = self.ranks.own(self.draw())
        if self.step % self.config.occupancy.every == 0:
            self._refresh_occupancy(inputs.level_weights)
        lit = inputs.lighting.lit or self._normals != "none"
        approximate = self.guidance.approximate_at(self.progress)
        return Step(inputs, size, self.budget.max_samples(size), approximate, lit)

    def end_step(self, metrics: dict[str, Tensor]) -> Metrics:
        """Do on the host what follows the work on the device, and return the step's metrics.

        Raises:
            NonFiniteError: when rewinding does not help.
            CollapsedError: when resetting the scene does not help.
        """
        self.budget.record(metrics["samples"])
        self.step += 1
        if self.model.average is not None and self.progress > self.config.train.average_from:
            self.model.average.include()
        self._check_health(metrics["fill"])
        return {**metrics, "overflows": float(self.budget.overflows)}

    def draw(self) -> StepInputs:
        """Return the next step's inputs on the device, in the same tensors every time."""
        return self._inputs.at(self.step)

    def _rate(self, name: str) -> float:
        """Return the peak learning rate of a parameter of the scene."""
        config = self.config.optimizer
        if name.startswith("field.") and name.endswith(".table"):
            return config.lr_grid
        return config.lr_mlp if name.startswith("field.") else config.lr_background

    def _draw(self, steps: range, generator: torch.Generator) -> StepInputs:
        """Draw the inputs of some steps on the host, see `dfast.training.step_inputs.draw`."""
        return draw(
            self.config,
            steps,
            self._schedule,
            self.scene.background,
            self._level_resolutions(),
            generator,
            lambda progress: [loss.weight_at(progress) for loss in self.losses.values()],
        )

    def _level_resolutions(self) -> tuple[float, ...]:
        """Return the resolutions of the levels that come in one after the other, coarsest first."""
        return self.scene.field.resolutions

    def _computes_reserved(self) -> bool:
        """Return whether memory that is reserved for samples costs time, too."""
        return self.scene.field.computes_reserved

    def forward(self, step: Step) -> tuple[Rendering, Tensor]:
        """Render a step's views, and encode them for the guidance.

        Args:
            step: what `begin_step` returned.

        Returns:
            The rendering, and what the guidance takes, [B, C, h, w].
        """
        rendering = self.render(step)
        encoded = self._guide(step).encode(
            rendering,
            step.inputs.colors,
            self.generators.device,
            approximate=step.approximate,
        )
        return rendering, encoded

    def render(self, step: Step) -> Rendering:
        """Render the views of a step that `begin_step` returned."""
        inputs = step.inputs
        options = RenderOptions(
            self.config.march,
            normals=max(self._normals, "shading" if step.lit else "none", key=NORMALS.index),
            level_weights=inputs.level_weights,
            max_samples=step.max_samples,
        )
        return render(
            self._shown(step),
            inputs.cameras,
            inputs.lighting,
            options,
            resolution=step.size,
            colors=inputs.colors,
            generator=self.generators.device,
            share=self.ranks.share,
        )

    def _shown(self, step: Step) -> Scene:
        """Return the scene that a step shows."""
        return self.scene

    def _guide(self, step: Step) -> Guidance:
        """Return the guidance that judges what a step shows."""
        return self.guidance

    def backward(
        self, step: Step, rendering: Rendering, x: Tensor, gradient: Tensor
    ) -> dict[str, Tensor]:
        """Follow the guidance's gradient and the losses, and return the step's metrics.

        Args:
            step: what `begin_step` returned.
            rendering: of `forward`.
            x: of `forward`.
            gradient: of the guidance at x.
        """
        inputs = step.inputs
        # A mean over the pixels (or latents) of x, as the losses are means over the image's pixels.
        loss = sds_loss(x, gradient) / (len(x) * x.shape[-2] * x.shape[-1])
        for weight, term in zip(inputs.loss_weights, self.losses.values(), strict=True):
            loss = loss + weight * term.value(rendering, inputs)
        parameters = list(self.optimizer.parameters.values())
        own = torch.autograd.grad(loss, parameters, materialize_grads=True)
        seen = [rendering.opacity.detach().mean(), rendering.fill, gradient.square().mean()]
        *gradients, opacity, fill, square = self.ranks.average([*own, *seen])
        self.optimizer.step(gradients, inputs.rate_factor, self.scene.half_copies())
        status = self.optimizer.status.clone()
        return {
            "gradient_norm": status[NORM],
            "opacity": opacity,
            "fill": fill,
            "guidance": square.sqrt(),
            "samples": rendering.num_samples,
            "skipped": status[SKIPPED],
            **self._guide(step).metrics(),
        }

    def _run(self, step: Step) -> dict[str, Tensor]:
        """Do the step's work on the device, as a CUDA graph where that is possible."""
        if not self.guidance.cuda_graph_safe or (self.graphs.enabled and step.max_samples is None):
            return self._device_step(step)
        key = ("step", step.size, step.max_samples, step.approximate)
        if key != self._graph_key:  # sizes that were outgrown, and past phases, do not come back
            self.graphs.drop(lambda other: other[:1] == ("step",))
            self._graph_key = key
        shown = step.lit, step.subject
        return self.graphs.run((*key, *shown), lambda: self._device_step(step))

    def _device_step(self, step: Step) -> dict[str, Tensor]:
        """Compute the step from tensors on the device; nothing here may read them on the host."""
        rendering, x = self.forward(step)
        batch = step.inputs.guidance_batch(self.ranks.share)
        generator = self.generators.device
        gradient = self._guide(step).gradient(x, batch, generator)
        return self.backward(step, rendering, x, gradient)

    def _refresh_occupancy(self, level_weights: Tensor) -> None:
        config = self.config.occupancy
        fraction = 1.0 if self.step < config.warmup_steps else config.fraction
        self.graphs.run(
            ("occupancy", fraction),
            lambda: self.scene.refresh_occupancy(
                self.generators.device, fraction=fraction, level_weights=level_weights
            ),
        )

    def _check_health(self, fill: Tensor) -> None:
        """Check after the first step, every `log_every` steps from it, and after the last one."""
        every, last = self.config.train.log_every, self.step == self.config.train.steps
        if last or self.step % every == 1 % every:
            parameters = [*self.optimizer.parameters.values(), *self.guidance.parameters()]
            self.health.check(fill, parameters, last=last)

    def finish(self) -> None:
        """Give a run that is done its averaged parameters, and bring the occupancy up to date.

        The cells are drawn from a generator of their own, so that a run that goes on after this is
        the same as one that did not stop.
        """
        self.graphs.drop()
        self._apply_average()
        self.scene.rebuild_occupancy(torch.Generator(self.device).manual_seed(self.seed))

    def _apply_average(self) -> None:
        """Give a run that is done its averaged parameters, if it averages."""
        if self.model.average is not None and self.step >= self.config.train.steps:
            self.model.average.apply()

    def state_dict(self) -> dict[str, Tensor]:
        """Return flat tensors: scene, Adam, guidance, random state, health counts and step."""
        state = self.model.state()
        state |= {f"rng.{k}": v for k, v in self.generators.state_dict().items()}
        state |= {f"guard.{k}": v for k, v in self.health.state_dict().items()}
        return state | {"step": torch.tensor(self.step)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from what `state_dict` returned, with the seed of that run.

        Raises:
            RunFolderError: when it does not fit this configuration; nothing is changed then.
        """
        own = {k: v for k, v in self.state_dict().items() if not k.startswith("guidance.")}
        if fault := find_misfit(state, own) or find_fault({k: state[k] for k in own}):
            raise RunFolderError(f"checkpoint: does not fit this run ({fault})")
        try:
            self.model.restore(state)
            self.generators.load_state_dict(under(state, "rng."))
            self._inputs.reseed(self.seed)
            self.health.load_state_dict(under(state, "guard."))
            self.step = int(state["step"])
        except (KeyError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise RunFolderError(f"checkpoint: does not fit this run ({reason})") from error
