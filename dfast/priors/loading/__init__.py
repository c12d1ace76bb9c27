"""Find, check and read the files of published models: catalogue, hub cache, folders, weights."""

from dfast.priors.loading.catalog import CATALOG, VANISHED, Entry, is_hub_id
from dfast.priors.loading.compatibility import check_text
from dfast.priors.loading.embedding_cache import EmbeddingCache, cache_folder
from dfast.priors.loading.families import detect_family
from dfast.priors.loading.folder import Folder, Weights
from dfast.priors.loading.hub import find_folder
from dfast.priors.loading.networks import build_transformer, build_unet, build_vae
from dfast.priors.loading.quiet import quiet
from dfast.priors.loading.text_encoders import load_tokenizer, open_text_encoder
from dfast.priors.loading.weights import load_weights, size_of

__all__ = [
    "CATALOG", "VANISHED", "EmbeddingCache", "Entry", "Folder", "Weights", "build_transformer",
    "build_unet", "build_vae", "cache_folder", "check_text", "detect_family", "find_folder",
    "is_hub_id", "load_tokenizer", "load_weights", "open_text_encoder", "quiet", "size_of",
]  # fmt: skip
