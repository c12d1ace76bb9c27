"""CLIP: one encoder of images and texts from any folder of transformers, and one trained here."""

from dfast.clip.encoder import ClipEncoder, load_clip
from dfast.clip.preprocessing import Preprocessing

__all__ = ["ClipEncoder", "Preprocessing", "load_clip"]
