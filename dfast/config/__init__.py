"""Every setting of a run as frozen dataclasses, with files, presets and overrides.

Nothing here imports torch or another package of dfast.
"""

from dfast.config.config import (
    BackgroundConfig,
    CameraConfig,
    CoarseToFineConfig,
    Config,
    FieldConfig,
    GridConfig,
    GuidanceConfig,
    LightConfig,
    MarchConfig,
    OccupancyConfig,
    OptimizerConfig,
    PriorConfig,
    RegularizerConfig,
    ShadingConfig,
    TrainConfig,
)

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
