"""Files and pictures: atomic writes, safetensors, images, turntable videos.

Only `tensors` imports torch.
"""
