"""How much memory, time and disk runs would take, before any weights are loaded.

The networks of a pretrained model are run on the meta device, which counts their operations and the
bytes they keep; matrix products measure the speed of the device; rendering, optimiser and the rest
are timed as they are, with a stand-in for the model that costs nothing. A prior without
`Prior.cost_parts`, such as the embedded one, is timed as a whole. What several runs side by side
share counts once, see `dfast.runs.step_cost`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dfast._device import pick_device
from dfast._numbers import shown, whole
from dfast.config import Config, Layout
from dfast.errors import ConfigError
from dfast.host.threads import threads_within_quota
from dfast.ops.ambient import neutral_torch_state
from dfast.priors import Prior
from dfast.runs.arguments import RunArguments, resolve_arguments, resolve_config
from dfast.runs.best_of import check_best_of
from dfast.runs.disk import run_bytes
from dfast.runs.each_run import check_prompts
from dfast.runs.estimated import Estimate
from dfast.runs.fit import fit
from dfast.runs.layouts import has_layout, laid_out, prompt_of
from dfast.runs.out_of_memory import memory_suggestions
from dfast.runs.particles import check_particles
from dfast.runs.plan import AtOnce, Plan, check_at_once
from dfast.runs.step_cost import EXPORT_MEMORY, CostModel, Model
from dfast.runs.unfetched import entry_to_fetch, unfetched
from dfast.training.ranks import Ranks

__all__ = ["Estimate", "estimate"]


@neutral_torch_state()
@threads_within_quota()
def estimate(
    prompt: str | list[str] | tuple[str, ...] | None = None,
    *,
    layout: Layout | Mapping[str, Any] | str | Path | None = None,
    prior: str | Prior = "shapes",
    device: str | torch.device | None = None,
    config: Config | Mapping[str, Any] | None = None,
    steps: int | None = None,
    best_of: int = 1,
    particles: int | None = None,
    at_once: AtOnce = None,
    ranks: int = 1,
    export: bool = False,
) -> Estimate:
    """Estimate the memory, the time and the disk space of `dfast.train` with the same arguments.

    No weights of a pretrained model are read. One of the catalogue need not be on this machine:
    the sizes of its networks are known. Folders and other models must be.

    Args:
        prompt: what to make, or a list of it; by default the prompt of the layout, without one "a
            red chair".
        layout: as in `dfast.train`.
        prior: as in `dfast.train`.
        device: as in `dfast.train`.
        config: as in `dfast.train`.
        steps: as in `dfast.train`.
        best_of: as in `dfast.train`.
        particles: as in `dfast.train`.
        at_once: as in `dfast.train`.
        ranks: processes of torchrun that make an object together; bytes and times are those of one,
            on a device of its own.
        export: count the files of `dfast train`, too: mesh, pictures and report.

    Raises:
        DfastError: what `dfast.train` raises for its arguments.
    """
    if layout is None and prompt is None:
        prompt = prompt_of(config) or "a red chair"
    if isinstance(prompt, list | tuple):
        check_prompts(prompt)
    prompt, config = laid_out(layout, prompt, config)
    many = isinstance(prompt, list | tuple)
    if best_of != 1 and (many or particles is not None):
        raise ConfigError(f"best_of: expected 1 with several objects, got {shown(best_of)}")
    if at_once is not None and not many and particles is None:
        raise ConfigError("at_once: expected None with one prompt, got " + shown(at_once))
    if many and particles is not None:
        raise ConfigError("particles: expected one prompt, got a list")
    size = whole(ranks)
    if size is None or size < 1 or (size > 1 and (many or particles is not None or best_of != 1)):
        raise ConfigError(f"ranks: expected 1, or more with one object, got {shown(ranks)}")
    if has_layout(config) and (many or best_of != 1 or particles is not None):
        raise ConfigError("layout: expected none where several objects are made")
    prompts = prompt if isinstance(prompt, list | tuple) else [prompt]
    plan = Plan(
        len(prompts) if particles is None else check_particles(particles),
        check_at_once(at_once),
        check_best_of(best_of),
        particles is not None,
        size,
    )
    if (entry := entry_to_fetch(prior)) is not None:
        settings = resolve_config(entry.alias, device, config=config, steps=steps)
        with unfetched(entry, pick_device(device), settings.prior) as model:
            for text in prompts:
                arguments = resolve_arguments(
                    text, prior=model.prior, device=device, config=settings, steps=None
                )
            found = _estimate(arguments, model.text_bytes, plan, export)
            return replace(found, note="\n".join(filter(None, [found.note, model.note])))
    opened, settled = prior, config
    for text in prompts:
        arguments = resolve_arguments(
            text, prior=opened, device=device, config=settled, steps=steps
        )
        opened, settled = _prior(arguments), arguments.config
    return _estimate(arguments, _prior(arguments).text_bytes(), plan, export)


def _prior(arguments: RunArguments) -> Prior:
    """Return the prior of a run; raise ConfigError for one that a CLIP guides."""
    if not isinstance(arguments.prior, Prior):
        name = arguments.config.method.name
        raise ConfigError(f"method: expected one that a prior guides, to estimate it, got {name!r}")
    return arguments.prior


def _estimate(arguments: RunArguments, text_bytes: int, plan: Plan, export: bool) -> Estimate:
    """Return the estimate for checked arguments.

    Args:
        arguments: those of one of the runs.
        text_bytes: bytes of the prior's text encoders as stored.
        plan: how many there are.
        export: count exported files.
    """
    text, where, config, _ = arguments
    Ranks(0, plan.ranks).check_views(config.camera.views)
    share = config.replace(camera={"views": config.camera.views // plan.ranks})
    model = _prior(arguments)
    costs = CostModel(
        Model(model, text_bytes), text, share, where, plan.most, particles=plan.particles
    )
    note = ""
    if plan.at_once == "fit":
        chosen = fit(costs, where, plan.objects)
        plan, note = plan.fitted(chosen.at_once), chosen.why
    fullest = costs.of(plan.most)
    rounds = plan.rounds(config.train.steps)
    each = {runs: costs.of(runs) for runs in {part.runs for part in rounds}}
    return Estimate(
        prior=model.name,
        device=str(where),
        weights=costs.weights,
        working=fullest.working,
        reading=costs.reading,
        state=fullest.state,
        flops=fullest.flops,
        seconds_per_step=fullest.seconds,
        steps=config.train.steps,
        free=costs.free,
        suggestions=tuple(memory_suggestions(config, model)),
        note=note,
        libraries=costs.libraries,
        objects=plan.objects,
        at_once=plan.most,
        ranks=plan.ranks,
        rounds=tuple(
            replace(
                part,
                seconds_per_step=each[part.runs].seconds,
                start_seconds=each[part.runs].start,
            )
            for part in rounds
        ),
        starting=fullest.start,
        spare=costs.spare(fullest),
        exporting=int(EXPORT_MEMORY[where.type]) if export else 0,
        disk=plan.objects * run_bytes(config, costs.checkpoint, exported=export),
    )
