"""What is imported for a prior, and that a host finds all that stood aside meanwhile."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_models import PROMPT, folder, load_tiny

from dfast.priors.loading.weights import is_finite

pytest.importorskip("scipy")


def run(code: str, *arguments: str) -> str:
    """Return what a program in a process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_prompt_that_is_kept_needs_neither_transformers_nor_scipy() -> None:
    load_tiny("sd15").encode_prompt(PROMPT)
    code = """
import sys
from dfast.priors import load_prior
prior = load_prior(sys.argv[1], "cpu")
prior.encode_prompt(sys.argv[2])
prior.load()
absent = ("transformers", "scipy.stats", "scipy.integrate", "diffusers.models.unets.unet_1d")
print([name for name in absent if name in sys.modules], type(prior.network).__name__)
"""
    assert run(code, str(folder("sd15")), PROMPT) == "[] UNet2DConditionModel\n"


def test_host_finds_what_stood_aside() -> None:
    code = """
import sys
from dfast.priors.loading.imports import class_of
unet, text = class_of("diffusers", "UNet2DConditionModel"), class_of("transformers", "T5Config")
encoder = class_of("transformers", "T5EncoderModel")
assert "scipy.optimize" not in sys.modules

import diffusers.models.unets
from diffusers.loaders import lora_base
from diffusers.models.transformers import PriorTransformer
from diffusers.schedulers import scheduling_lms_discrete
from scipy.optimize import linear_sum_assignment
from transformers.loss import loss_for_object_detection
import transformers

assert diffusers.models.unets.UNet2DConditionModel is unet is diffusers.UNet2DConditionModel
assert diffusers.models.unets.unet_2d_condition.UNet2DConditionModel is unet
assert issubclass(diffusers.models.unets.UNet1DModel, diffusers.ModelMixin)
assert PriorTransformer is diffusers.PriorTransformer
assert issubclass(encoder, lora_base.PreTrainedModel)
assert not isinstance(3, lora_base.PreTrainedModel)
assert lora_base.PreTrainedModel.from_pretrained == transformers.PreTrainedModel.from_pretrained
assert scheduling_lms_discrete.integrate.quad(lambda x: x, 0.0, 1.0)[0] == 0.5
assert scheduling_lms_discrete.scipy.stats.norm.cdf(0.0) == 0.5
rows, _ = loss_for_object_detection.linear_sum_assignment([[1.0, 0.0], [0.0, 1.0]])
assert rows.tolist() == linear_sum_assignment([[1.0, 0.0], [0.0, 1.0]])[0].tolist()
assert not hasattr(diffusers.models.unets, "no_such_name")
print("found")
"""
    assert run(code).splitlines()[-1] == "found"


def test_library_that_needs_it_at_once_gets_it(tmp_path: Path) -> None:
    (tmp_path / "needy.py").write_text(
        "from scipy.stats import norm\nclass Network:\n    half = norm.cdf(0.0)\n"
    )
    (tmp_path / "heir.py").write_text(
        "from transformers import PreTrainedModel\nclass Network(PreTrainedModel):\n    pass\n"
    )
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from dfast.priors.loading.imports import class_of
needy, heir = class_of("needy", "Network"), class_of("heir", "Network")
import transformers
print(needy.half, heir.__mro__[1] is transformers.PreTrainedModel)
"""
    assert run(code, str(tmp_path)).splitlines()[-1] == "0.5 True"


PEFT = {
    "peft-0.19.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: peft\nVersion: 0.19.0\n",
    "peft/__init__.py": "from transformers import AutoModel\nfrom peft.tuners import Layer\n",
    "peft/helpers.py": "def disable_input_dtype_casting(*_): pass\n",
    "peft/tuners/__init__.py": "from .layer import Layer\n",
    "peft/tuners/layer.py": "from .tuners_utils import BaseTunerLayer, other\n"
    "class Layer(BaseTunerLayer): pass\n",
    "peft/tuners/tuners_utils.py": "class BaseTunerLayer: pass\nother = 1\n",
}
"""Files of a package that imports what peft does."""


@pytest.mark.parametrize("first", ["whole", "part"])
def test_peft_is_imported_by_whoever_uses_it(first: str, tmp_path: Path) -> None:
    for name, text in PEFT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    load_tiny("sd15").encode_prompt(PROMPT)
    code = """
import sys
sys.path.insert(0, sys.argv[3])
import torch
from dfast.priors import load_prior
prior = load_prior(sys.argv[1], "cpu")
prior.encode_prompt(sys.argv[2])
prior.load()
unet = prior.network
side, width = unet.config.sample_size, unet.config.cross_attention_dim
x = torch.zeros(1, unet.config.in_channels, side, side)
unet(x, torch.tensor(5), torch.zeros(1, 77, width))
from diffusers.utils import USE_PEFT_BACKEND
absent = ("peft", "transformers", "scipy.stats")
print(USE_PEFT_BACKEND, [name for name in absent if name in sys.modules])

from peft.tuners.tuners_utils import BaseTunerLayer as later
if sys.argv[4] == "part":
    from peft.tuners.tuners_utils import other
import peft
from peft.tuners.tuners_utils import BaseTunerLayer
layer = peft.Layer()
print(isinstance(layer, BaseTunerLayer), isinstance(layer, later), isinstance(3, later))
"""
    printed = run(code, str(folder("sd15")), PROMPT, str(tmp_path), first).splitlines()
    assert printed[-2:] == ["True []", "True True False"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
def test_finite(dtype: torch.dtype, bad: float) -> None:
    largest = torch.finfo(dtype).max
    values = torch.tensor([largest, -largest, 0.0] * 50, dtype=dtype)
    assert is_finite(values)
    values[77] = bad
    assert not is_finite(values)
    assert is_finite(values[:0]) and not is_finite(values[77])


def test_collection_goes_on_as_before() -> None:
    from dfast.host.collection import no_collection

    assert gc.isenabled()
    with no_collection(), no_collection():
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with no_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
