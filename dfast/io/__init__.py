"""Files and pictures: atomic writes, safetensors, images, turntable videos.

`images` and `video` import no torch; `tensors` does.
"""
