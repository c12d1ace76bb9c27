"""Priors of the families of diffusers pipelines: Stable Diffusion, SDXL, DeepFloyd IF."""
