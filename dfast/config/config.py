"""All settings of a run in one frozen dataclass that reads and writes TOML and JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dfast._files import replacing
from dfast._numbers import shown
from dfast.config import presets
from dfast.config.clip_mesh import ClipMeshConfig
from dfast.config.dream_fields import DreamFieldsConfig
from dfast.config.files import read_values
from dfast.config.guidance import GuidanceConfig, PriorConfig
from dfast.config.layout import Layout
from dfast.config.methods import METHODS, MethodConfig, unused_sections
from dfast.config.parsing import as_table, from_table, overlay, to_toml
from dfast.config.refine import RefineConfig
from dfast.config.renamed import current_names
from dfast.config.render import CameraConfig, LightConfig, MarchConfig, ShadingConfig
from dfast.config.scene import (
    BackgroundConfig,
    CoarseToFineConfig,
    FieldConfig,
    OccupancyConfig,
)
from dfast.config.training import OptimizerConfig, RegularizerConfig, TrainConfig
from dfast.errors import ConfigError


@dataclass(frozen=True)
class Config:
    """All settings of a run, by section.

    A `Config` never changes after construction; `replace` makes a changed copy. Get one from
    `default`, `dreamfusion`, `for_prior`, `load` or `from_dict`. Settings have an old name as well
    where `dfast.config.renamed` lists one, which files and dicts may use.
    """

    field: FieldConfig = dataclasses.field(default_factory=FieldConfig)
    """Encoding, MLP and density."""
    background: BackgroundConfig = dataclasses.field(default_factory=BackgroundConfig)
    """What is behind the object."""
    occupancy: OccupancyConfig = dataclasses.field(default_factory=OccupancyConfig)
    """Which cells are marched through."""
    march: MarchConfig = dataclasses.field(default_factory=MarchConfig)
    """Samples along a ray."""
    camera: CameraConfig = dataclasses.field(default_factory=CameraConfig)
    """Training cameras."""
    light: LightConfig = dataclasses.field(default_factory=LightConfig)
    """Training lights."""
    shading: ShadingConfig = dataclasses.field(default_factory=ShadingConfig)
    """Odds of the shading modes."""
    guidance: GuidanceConfig = dataclasses.field(default_factory=GuidanceConfig)
    """Score distillation."""
    prior: PriorConfig = dataclasses.field(default_factory=PriorConfig)
    """How the diffusion model is run."""
    regularizer: RegularizerConfig = dataclasses.field(default_factory=RegularizerConfig)
    """Losses beside the guidance."""
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    """Adam and its learning rates."""
    coarse_to_fine: CoarseToFineConfig = dataclasses.field(default_factory=CoarseToFineConfig)
    """How fine levels come in."""
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    """Length and housekeeping."""
    method: MethodConfig = dataclasses.field(default_factory=MethodConfig)
    """The way from the prompt to the object."""
    dream_fields: DreamFieldsConfig = dataclasses.field(default_factory=DreamFieldsConfig)
    """Augmentations and transmittance of Dream Fields."""
    clip_mesh: ClipMeshConfig = dataclasses.field(default_factory=ClipMeshConfig)
    """The mesh of CLIP-Mesh, its optimiser and its losses."""
    refine: RefineConfig = dataclasses.field(default_factory=RefineConfig)
    """The refine stage."""
    layout: Layout = dataclasses.field(default_factory=Layout)
    """Several things in a scene."""

    def __post_init__(self) -> None:
        """Check sections that were built directly; numbers get the type of their setting."""
        for section in dataclasses.fields(self):
            given = getattr(self, section.name)
            expected: Any = section.default_factory
            if not isinstance(given, expected):
                raise ConfigError(
                    f"config section '{section.name}': expected {expected.__name__}, "
                    f"got {shown(given)}"
                )
            checked = from_table(type(given), as_table(given), section.name)
            object.__setattr__(self, section.name, checked)
        for name in self.unused:
            if getattr(self, name) != type(getattr(self, name))():
                raise ConfigError(
                    f"config section '{name}': expected with a method that reads it, got method "
                    f"'{self.method.name}'"
                )
        if self.layout.parts:
            self._check_layout()

    def _check_layout(self) -> None:
        """Raise ConfigError for settings that several things in a scene cannot have."""
        method, variant, behind = self.method.name, self.guidance.variant, self.background.kind
        for key, value, ok, expected in (
            ("method.name", method, METHODS[method].guide == "prior", "one that a prior guides"),
            ("guidance.variant", variant, variant != "vsd", "one that trains no copy of the prior"),
            ("background.kind", behind, behind != "mlp", "random or solid"),
        ):
            if not ok:
                raise ConfigError(
                    f"config key '{key}': expected {expected} with a layout, got {value!r}"
                )

    @property
    def unused(self) -> frozenset[str]:
        """Names of the sections that the run does not read, and that files leave out."""
        one = frozenset({"layout"} if not self.layout.parts else ())
        return unused_sections(self.method.name) | one

    @classmethod
    def default(cls, device: str = "cpu") -> Config:
        """Return dfast's own settings, for the embedded prior.

        Args:
            device: "cpu": 300 steps of 4 views; a GPU such as "cuda" or "cuda:1": 1200 of 8.

        Raises:
            ConfigError: the device has another name.
        """
        return cls.from_dict(presets.default(device))

    @classmethod
    def dreamfusion(cls) -> Config:
        """Return DreamFusion as it was published (Poole et al. 2022), but for Adam for Shampoo.

        See `dfast.config.presets.DREAMFUSION`. The paper's bounding sphere has radius 1.4 and
        dfast's 1, so its lengths are divided by 1.4.
        """
        return cls.from_dict(presets.DREAMFUSION)

    @classmethod
    def for_prior(cls, family: str) -> Config:
        """Return the settings for a family of priors, see `dfast.config.presets.PRETRAINED`.

        Args:
            family: "sd" or another family, or a short name of a model such as "sd15" or "if-m";
                "shapes" is `default`.

        Raises:
            ConfigError: there is no such family.
        """
        return cls.from_dict(presets.for_prior(family))

    @classmethod
    def for_method(cls, name: str, device: str = "cpu", family: str = "") -> Config:
        """Return the settings of a method, see `dfast.config.methods.METHODS`.

        Args:
            name: of the method; "dfast" is `default`.
            device: as of `default`.
            family: of the prior, "" for none; DreamFusion has other cameras with "shapes".

        Raises:
            ConfigError: there is no such method.
        """
        chosen = {"method": {"name": name}}
        method = METHODS[cls.from_dict(chosen).method.name]
        own = method.settings
        table = presets.default(device) if own is None else own(device, family)
        return cls.from_dict(overlay(table, chosen))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """Return the configuration that nested mappings describe.

        Args:
            values: sections by name; settings left out take their default.

        Raises:
            ConfigError: an unknown setting, or a value that cannot be.
        """
        return from_table(cls, current_names(values), "")

    def to_dict(self) -> dict[str, Any]:
        """Return nested plain dicts, lists, numbers and strings, in declaration order.

        Sections that the run does not read are left out.
        """
        return {k: v for k, v in as_table(self).items() if k not in self.unused}

    @classmethod
    def load(cls, path: str | Path, *, base: Config | None = None) -> Config:
        """Read a configuration from a file.

        Args:
            path: a .json file, or TOML under any other name.
            base: gives the settings that the file leaves out; without it they take their default.

        Raises:
            ConfigError: the file cannot be read, or holds settings that cannot be.
        """
        values = current_names(read_values(path))
        if base is not None:
            values = overlay(base.to_dict(), values)
        return cls.from_dict(values)

    def dumps(self, kind: Literal["toml", "json"] = "toml") -> str:
        """Return the whole configuration as text.

        Args:
            kind: the format.
        """
        values = self.to_dict()
        return json.dumps(values, indent=2) + "\n" if kind == "json" else to_toml(values)

    def save(self, path: str | Path) -> None:
        """Write the whole configuration, atomically.

        Args:
            path: a .json file, or TOML under any other name.

        Raises:
            OSError: the file cannot be written.
        """
        path = Path(path)
        with replacing(path) as temporary:
            kind: Literal["toml", "json"] = "json" if path.suffix == ".json" else "toml"
            temporary.write_text(self.dumps(kind), encoding="utf-8")

    def replace(self, /, **changes: Any) -> Config:
        """Return a copy with some settings changed.

        >>> Config().replace(train={"steps": 10}, field={"grid": {"levels": 4}}).train.steps
        10

        Args:
            **changes: by section, mappings of the settings to change.

        Raises:
            ConfigError: an unknown setting, or a value that cannot be.
        """
        return Config.from_dict(overlay(self.to_dict(), current_names(changes)))
