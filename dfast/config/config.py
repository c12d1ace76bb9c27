"""Every setting of a run, as frozen dataclasses that read and write TOML and JSON.

A `Config` never changes after construction; `replace` makes a changed copy. Its tables are in
`config_tables`. Nothing here imports torch.
"""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dfast._files import replacing
from dfast.config.guidance import GuidanceConfig, PriorConfig
from dfast.config.parsing import build, merge, plain, toml
from dfast.config.render import CameraConfig, LightConfig, MarchConfig, ShadingConfig
from dfast.config.scene import (
    BackgroundConfig,
    CoarseToFineConfig,
    FieldConfig,
    GridConfig,
    OccupancyConfig,
)
from dfast.config.training import OptimizerConfig, RegularizerConfig, TrainConfig
from dfast.errors import ConfigError

__all__ = [
    "BackgroundConfig",
    "CameraConfig",
    "CoarseToFineConfig",
    "Config",
    "FieldConfig",
    "GridConfig",
    "GuidanceConfig",
    "LightConfig",
    "MarchConfig",
    "OccupancyConfig",
    "OptimizerConfig",
    "PriorConfig",
    "RegularizerConfig",
    "ShadingConfig",
    "TrainConfig",
]


_FAMILY = re.compile(r"shapes|sd\d*|sdxl|if(-\w+)?")
"""Families of priors, and how the short names of their models are made."""


@dataclass(frozen=True)
class Config:
    """All settings of a run, from `Config.default`, `Config.for_prior`, `Config.dreamfusion` or
    `Config.load`."""

    field: FieldConfig = dataclasses.field(default_factory=FieldConfig)
    background: BackgroundConfig = dataclasses.field(default_factory=BackgroundConfig)
    occupancy: OccupancyConfig = dataclasses.field(default_factory=OccupancyConfig)
    march: MarchConfig = dataclasses.field(default_factory=MarchConfig)
    camera: CameraConfig = dataclasses.field(default_factory=CameraConfig)
    light: LightConfig = dataclasses.field(default_factory=LightConfig)
    shading: ShadingConfig = dataclasses.field(default_factory=ShadingConfig)
    guidance: GuidanceConfig = dataclasses.field(default_factory=GuidanceConfig)
    prior: PriorConfig = dataclasses.field(default_factory=PriorConfig)
    regularizer: RegularizerConfig = dataclasses.field(default_factory=RegularizerConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    coarse_to_fine: CoarseToFineConfig = dataclasses.field(default_factory=CoarseToFineConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        """Check the types and choices of sections that were built directly."""
        for section in dataclasses.fields(self):
            made = getattr(self, section.name)
            expected: Any = section.default_factory
            if not isinstance(made, expected):
                raise ConfigError(
                    f"config section '{section.name}': expected {expected.__name__}, got {made!r}"
                )
            build(type(made), plain(made), section.name)

    @classmethod
    def default(cls, device: str = "cpu") -> Config:
        """dfast's settings: 300 steps of 4 views on a CPU, 600 of 8 on a GPU ("cuda", "cuda:1")."""
        config = cls()
        if device.startswith("cpu"):
            return config
        return config.replace(train={"steps": 600}, camera={"views": 8})

    @classmethod
    def dreamfusion(cls) -> Config:
        """The values of DreamFusion (Poole et al. 2022), with Adam in place of Shampoo.

        The paper's bounding sphere has radius 1.4 and dfast's 1, so its lengths are divided by 1.4.
        """
        unit = 1.0 / 1.4
        return cls(
            field=FieldConfig(
                grid=GridConfig(
                    levels=16, log2_entries=19, base_resolution=16, max_resolution=2048
                ),
                hidden=64,
                layers=2,
                density_activation="exp",
                density_scale=1.4,
                density_bias=-1.0,
                blob="gaussian",
                blob_height=5.0,
                blob_width=0.2 * unit,
            ),
            background=BackgroundConfig(kind="mlp", hidden=32),
            march=MarchConfig(step=2.0 / 256),
            camera=CameraConfig(
                distance=(1.0 * unit, 1.5 * unit),
                fov=(41.0, 71.0),
                elevation=(-10.0, 90.0),
                position_jitter=0.1 * unit,
                lookat_jitter=0.2 * unit,
                up_jitter=0.02,
                resolution=((0.0, 64),),
            ),
            light=LightConfig(distance=(0.8 * unit, 1.5 * unit), spread=0.8, ambient=(0.1, 0.1)),
            shading=ShadingConfig(
                albedo=0.25,
                diffuse=0.375,
                textureless=0.375,
                ambient_only=1000 / 15000,
                ramp=0.0,
            ),
            guidance=GuidanceConfig(
                scale=100.0,
                t_min=0.02,
                t_max=0.98,
                t_min_end=0.02,
                t_max_end=0.98,
                view_words="words",
            ),
            regularizer=RegularizerConfig(orientation=(1e-4, 1e-2), opacity=1e-3),
            optimizer=OptimizerConfig(warmup_steps=3000, final=0.01),
            coarse_to_fine=CoarseToFineConfig(levels_start=16, footprint=(0.1, 0.002)),
            train=TrainConfig(steps=15000, preview_every=500, checkpoint_every=1000),
        )

    @classmethod
    def for_prior(cls, family: str) -> Config:
        """Settings for a real diffusion model: "sd", "sdxl" or "if", or a short name of one such as
        "sd15" or "if-m"; `default` for "shapes". Raises ConfigError for others.

        `dreamfusion` with what became usual for one GPU: one view of 64 pixels a step, 10 000
        steps, Adam's rates as in `default`, words of the view blended by azimuth, cameras that
        see the whole scene, and a blob that ends (threestudio's), so that the empty rest is not
        marched through. Behind the object is a random colour: a learned background can paint the
        object itself, since what is seen through the origin depends on the direction alone.
        Samples are half a pixel apart. w is 100 for latents and 20 for DeepFloyd's pixels.
        """
        if not isinstance(family, str) or not _FAMILY.fullmatch(family):
            raise ConfigError(f"family: expected 'shapes', 'sd', 'sdxl' or 'if', got {family!r}")
        if family == "shapes":
            return cls.default()
        scale = 20.0 if family.startswith("if") else 100.0
        base = cls.dreamfusion()
        return base.replace(
            field={
                "density_activation": "softplus",
                "density_scale": 1.0,
                "density_bias": 0.0,
                "blob": "linear",
                "blob_height": 10.0,
                "blob_width": 0.5,
            },
            background=BackgroundConfig(),
            march={"step": 2.0 / 128},
            camera={"views": 1, "distance": (1.5, 2.0), "fov": (40.0, 70.0)},
            light={"distance": (1.2, 2.0)},
            shading={"ambient_only": 0.1},
            guidance={"scale": scale, "view_words": "camera"},
            optimizer=OptimizerConfig(),
            train={"steps": 10000},
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """Build from nested mappings; keys left out take their default. Raises ConfigError."""
        return build(cls, values, "")

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dicts, lists, numbers and strings, in declaration order."""
        return plain(self)

    @classmethod
    def load(cls, path: str | Path, *, base: Config | None = None) -> Config:
        """Read a .toml or .json file; keys that it leaves out are `base`'s, or take their default.

        Raises ConfigError.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
            values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"config file '{path}': cannot be read ({error})") from error
        except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
            kind = "JSON" if path.suffix == ".json" else "TOML"
            raise ConfigError(f"config file '{path}': not valid {kind} ({error})") from error
        if base is not None and isinstance(values, Mapping):
            values = merge(base.to_dict(), values)
        return cls.from_dict(values)

    def dumps(self, kind: Literal["toml", "json"] = "toml") -> str:
        """The whole configuration as text."""
        values = self.to_dict()
        return json.dumps(values, indent=2) + "\n" if kind == "json" else toml(values)

    def save(self, path: str | Path) -> None:
        """Write a .json file, or TOML under any other name."""
        path = Path(path)
        with replacing(path) as temporary:
            kind: Literal["toml", "json"] = "json" if path.suffix == ".json" else "toml"
            temporary.write_text(self.dumps(kind), encoding="utf-8")

    def replace(self, /, **changes: Any) -> Config:
        """A copy with some keys changed; sections take mappings of the keys to change.

        >>> Config().replace(train={"steps": 10}, field={"grid": {"levels": 4}}).train.steps
        10
        """
        return Config.from_dict(merge(self.to_dict(), changes))
