"""Every setting of a run as frozen dataclasses, with files, presets and overrides.

Nothing here imports torch or another package of dfast.
"""

from dfast.config.clip_mesh import ClipMeshConfig
from dfast.config.config import Config
from dfast.config.dream_fields import DreamFieldsConfig
from dfast.config.guidance import GuidanceConfig, PriorConfig
from dfast.config.layout import Layout, LayoutPart
from dfast.config.refine import RefineConfig
from dfast.config.render import CameraConfig, LightConfig, MarchConfig, ShadingConfig
from dfast.config.scene import (
    BackgroundConfig,
    CoarseToFineConfig,
    FieldConfig,
    GridConfig,
    IPEConfig,
    OccupancyConfig,
)
from dfast.config.training import OptimizerConfig, RegularizerConfig, TrainConfig

__all__ = [
    "BackgroundConfig",
    "CameraConfig",
    "ClipMeshConfig",
    "CoarseToFineConfig",
    "Config",
    "DreamFieldsConfig",
    "FieldConfig",
    "GridConfig",
    "GuidanceConfig",
    "IPEConfig",
    "Layout",
    "LayoutPart",
    "LightConfig",
    "MarchConfig",
    "OccupancyConfig",
    "OptimizerConfig",
    "PriorConfig",
    "RefineConfig",
    "RegularizerConfig",
    "ShadingConfig",
    "TrainConfig",
]
