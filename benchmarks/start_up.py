"""Time the start of `dfast train` by an old build and this one, in turn.

A process is timed from its start to the first call of a network of a step, when prompt, weights and
scene are ready: imports, text encoders, and all weights read and looked at. Models have random
weights in the shapes of published ones, and are written where they are missing:

- sd15: Stable Diffusion 1.5 with its text encoder and a vocabulary of its size, in float16.
- pixart: the transformer of PixArt-Sigma and the VAE of SDXL, with a tiny text encoder.

Files are read once before they count, so that they are in the page cache. On a busy machine wall
time says little; processor time is what the process itself took. Usage:

    python benchmarks/start_up.py OLD --models FOLDER [--rounds 5] [--cases NAMES] [--out FILE]

OLD is a folder with `dfast/` and its compiled extension, such as another checkout that was built in
place; this Python runs both.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from importlib import import_module
from importlib.abc import MetaPathFinder
from itertools import chain, product
from pathlib import Path
from string import ascii_lowercase
from typing import Any

HERE = Path(__file__).resolve()
NETWORKS = ("Encoder", "UNet", "UNet2DConditionModel", "PixArtTransformer2DModel")
"""Classes whose first call ends the start: VAEs' encoders, and networks that denoise."""
CASES = {
    "shapes": ("", False, "the embedded prior"),
    "sd15": ("sd15", True, "Stable Diffusion 1.5, a prompt that was encoded before"),
    "sd15-new-prompt": ("sd15", False, "Stable Diffusion 1.5, a new prompt"),
    "pixart": ("pixart", True, "PixArt-Sigma, a prompt that was encoded before"),
}
"""Model, whether its encoded prompt is kept between runs, and what it is, by name of the case."""
FIGURES = ("cpu_s", "user_s", "system_s", "wall_s", "modules")
"""Processor time and its parts, wall time, and how many modules were imported."""


class StopAtFirstCall(MetaPathFinder):
    """Ends the process at the first call of a network of a step, and writes what it took.

    It is asked for every import, finds nothing, and sets its hook once torch is loaded.
    """

    def __init__(self, out: str) -> None:
        self.out, self.waits = out, True

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        """Return nothing; set the hook if torch has come."""
        modules = sys.modules.get("torch.nn.modules.module")
        if self.waits and hasattr(modules, "register_module_forward_pre_hook"):
            self.waits = False
            modules.register_module_forward_pre_hook(self.stop)

    def stop(self, module: Any, _: Any) -> None:
        """Write the figures and end the process, if this is such a network."""
        if type(module).__name__ not in NETWORKS:
            return
        cuda = sys.modules["torch"].cuda
        if cuda.is_initialized():
            cuda.synchronize()
        took = resource.getrusage(resource.RUSAGE_SELF)
        figures = {
            "cpu_s": took.ru_utime + took.ru_stime,
            "user_s": took.ru_utime,
            "system_s": took.ru_stime,
            "wall_s": time.time(),  # its start is subtracted by the parent
            "modules": len(sys.modules),
        }
        Path(self.out).write_text(json.dumps(figures), encoding="utf-8")
        os._exit(0)


def run_until_first_call(out: str, arguments: list[str]) -> None:
    """Run the dfast that is imported first, until a network is called.

    Args:
        out: file for what the process took.
        arguments: of the command `dfast`.
    """
    sys.meta_path.insert(0, StopAtFirstCall(out))
    cli: Any = import_module("dfast.cli")
    if not callable(getattr(cli, "main", None)):
        cli = import_module("dfast.cli.main")
    cli.main(arguments)


def start(build: Path, model: Path | None, cache: Path | None, device: str) -> dict[str, float]:
    """Return what one start took.

    Args:
        build: folder with `dfast/`.
        model: folder of the prior; None is the embedded one.
        cache: folder of encoded prompts; None is an empty one.
        device: of the run.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "took.json"
        command = [sys.executable, str(HERE), "--first-call", str(out)]
        command += ["train", "a red chair", "--out", f"{folder}/run", "--device", device]
        command += ["--steps", "1", "--no-export", *(["--prior", str(model)] if model else [])]
        kept = {"PYTHONPATH": str(build), "DFAST_CACHE": str(cache or folder)}
        began = time.time()
        run = subprocess.run(
            command, cwd=folder, env={**os.environ, **kept}, capture_output=True, text=True
        )
        if not out.exists():
            raise SystemExit(f"{build}: no network was called\n{run.stdout}{run.stderr}")
        took: dict[str, float] = json.loads(out.read_text(encoding="utf-8"))
        return took | {"wall_s": took["wall_s"] - began}


def measure(builds: dict[str, Path], case: str, models: Path, rounds: int, device: str) -> Any:
    """Return medians of both builds, every start, and the ratios of a case.

    Args:
        builds: the folders by "old" and "new".
        case: one of `CASES`.
        models: folder of the models.
        rounds: pairs of starts that count.
        device: of the runs.
    """
    name, is_kept, what = CASES[case]
    model = models / name if name else None
    starts: dict[str, list[dict[str, float]]] = {build: [] for build in builds}
    with tempfile.TemporaryDirectory() as cache:
        for round_ in range(rounds + 1):
            for build, folder in builds.items():
                kept = Path(cache) / build if is_kept else None
                took = start(folder, model, kept, device)
                if round_:  # the first one fills the caches
                    starts[build].append(took)
                    print(case, build, {k: round(v, 2) for k, v in took.items()}, flush=True)
    medians = {
        build: {key: statistics.median(took[key] for took in all_) for key in FIGURES}
        for build, all_ in starts.items()
    }
    pairs = list(zip(*starts.values(), strict=True))
    ratios = {
        key: statistics.median(new[key] / old[key] for old, new in pairs)
        for key in FIGURES
        if len(builds) == 2
    }
    return {"what": what, "medians": medians, "ratios_new_to_old": ratios, "starts": starts}


def write_sd15(folder: Path) -> None:
    """Write Stable Diffusion 1.5, with a text encoder of the published size."""
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    from dfast.testing.random_models import materialize, write

    write("sd15", folder)
    pairs = [a + b for a, b in product(ascii_lowercase, repeat=2)]
    longer = ((pair, rest) for pair, rest in product(pairs, chain(ascii_lowercase, pairs)))
    merges = [*((p[0], f"{p[1]}</w>") for p in pairs), *((p[0], p[1]) for p in pairs), *longer]
    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges = merges[: 49406 - len(words)]
    words += ["".join(merge) for merge in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    CLIPTokenizer(
        vocab={word: i for i, word in enumerate(words)},
        merges=merges,
        pad_token="<|endoftext|>",
        model_max_length=77,
    ).save_pretrained(folder / "tokenizer")
    config = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_attention_heads=12, projection_dim=768
    )
    encoder = materialize(partial(CLIPTextModel, config), torch.device("cpu"), torch.float16)
    encoder.save_pretrained(folder / "text_encoder")


def write_pixart(folder: Path) -> None:
    """Write PixArt-Sigma, whose text encoder is tiny."""
    import torch
    from diffusers import AutoencoderKL, PixArtTransformer2DModel

    from dfast.testing.model_sizes import networks
    from dfast.testing.random_models import materialize
    from dfast.testing.random_transformers import write_transformer

    write_transformer("pixart", folder)
    transformer = {"sample_size": 64, "out_channels": 8, "caption_channels": 32}
    kept = partial(materialize, device=torch.device("cpu"), dtype=torch.float16)
    for part, build in (
        ("transformer", partial(PixArtTransformer2DModel, **transformer)),
        ("vae", partial(AutoencoderKL, **(networks("sdxl").vae or {}))),
    ):
        for file in (folder / part).glob("*"):
            file.unlink()
        kept(build).save_pretrained(folder / part)


WRITERS = {"sd15": write_sd15, "pixart": write_pixart}


def main() -> None:
    """Measure the cases and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path, metavar="OLD")
    parser.add_argument("--models", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", default="shapes,sd15,sd15-new-prompt", metavar="NAMES")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, metavar="FILE")
    options = parser.parse_args()
    cases = options.cases.split(",")
    for name in {CASES[case][0] for case in cases} - {""}:
        if not (options.models / name / "model_index.json").exists():
            WRITERS[name](options.models / name)

    import torch

    from dfast.bench.machine import describe

    builds = {"old": options.old.resolve(), "new": HERE.parent.parent}
    models = options.models.resolve()
    found = {case: measure(builds, case, models, options.rounds, options.device) for case in cases}
    commits = {
        name: subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=folder, capture_output=True, text=True
        ).stdout.strip()
        for name, folder in builds.items()
    }
    about = {
        **describe(torch.device(options.device)),
        "commit": commits,
        "threads": os.environ.get("OMP_NUM_THREADS", "as by default"),
        "load": os.getloadavg(),
        "rounds": options.rounds,
    }
    for case, result in found.items():
        print(case, {k: round(v, 3) for k, v in result["ratios_new_to_old"].items()})
    if options.out:
        options.out.write_text(json.dumps({**about, "cases": found}, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--first-call"]:
        run_until_first_call(sys.argv[2], sys.argv[3:])
    else:
        main()
