"""Text to 3D by Score Distillation Sampling, on CPU and CUDA kernels of its own."""

__version__ = "0.1.0"
