"""The kernels as modules for any PyTorch project: field, occupancy grid, optimiser."""

from dfast.nn.adam import Adam
from dfast.nn.field import Field
from dfast.nn.occupancy import OccupancyGrid

__all__ = ["Adam", "Field", "OccupancyGrid"]
