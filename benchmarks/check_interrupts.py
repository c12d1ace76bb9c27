"""Kill and stop small runs at random moments, and check that nothing but time is lost.

    OMP_NUM_THREADS=1 python benchmarks/check_interrupts.py --kills 100 --stops 50

Every run is the `dfast train` command in a process of its own, forked from this one, so that
libraries load once. SIGKILL comes at random moments of starting, training, writing checkpoints and
exporting: afterwards every file in the folder can be read, and the resumed run ends in the bytes of
one that was never interrupted, without leftovers. SIGTERM comes at random moments of training: the
process exits with 143, and the checkpoint has every step that was done. Needs Linux and a CPU.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from dfast.__main__ import main as dfast_main
from dfast._files import TEMPORARY
from dfast.config import Config
from dfast.io.tensors import read_tensors
from dfast.priors import load_prior
from dfast.runs.folder import FORMAT
from dfast.runs.result import Result

PROMPT = "a red chair"
STEPS = 9
SETTINGS = ["--set", "camera.views=2", "--set", "camera.resolution=[[0.0,16]]"]
SETTINGS += ["--set", "train.log_every=1", "--set", "train.preview_every=4", "--quiet"]
SETTINGS += ["--device", "cpu", "--steps", str(STEPS)]
COMPARED = ("checkpoint.safetensors", "result.safetensors", "object.glb", "contact_sheet.png")
KILLS_A_RUN = 3
"""A run is killed so many times before it may end."""


class Run:
    """One run folder and the processes that work on it.

    Args:
        out: the folder.
        every: steps between checkpoints.
        export: whether the mesh and the images are written, too.
    """

    def __init__(self, out: Path, every: int, *, export: bool) -> None:
        self.out, self.log = out, out.with_suffix(".log")
        self.extra = [*SETTINGS, "--set", f"train.checkpoint_every={every}"]
        self.export = export

    def start(self) -> int:
        """Start or resume the run in a forked process; return the process."""
        begun = (self.out / "run.json").exists()
        command = ["train", PROMPT, "--out", str(self.out), "--no-export", *self.extra]
        command += ["--resume"] if begun else []
        process = os.fork()
        if process:
            return process
        with self.log.open("ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        code = 1
        try:
            for line in [command, *self.exports()]:
                sys.argv = ["dfast", *line]
                if code := dfast_main():
                    break
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            os._exit(code)

    def exports(self) -> list[list[str]]:
        """Return the commands that export the result, small."""
        out, render = str(self.out), ["render", str(self.out), "--resolution", "16", "--out"]
        if not self.export:
            return []
        return [
            ["export", out, f"{out}/object.glb", "--resolution", "24", "--level", "0.05"],
            [*render, f"{out}/contact_sheet.png", "--sheet"],
            [*render, f"{out}/turntable.gif", "--frames", "8"],
        ]

    def finish(self) -> None:
        """Run to the end, and fail if that is not possible."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.start(), 0)[1])
        said = self.log.read_text() if self.log.exists() else ""
        if code or "Traceback" in said:
            raise SystemExit(f"{self.out}: exit code {code}\n{said}")

    def length(self) -> float:
        """Return the seconds that a second run takes, when all libraries are loaded."""
        shutil.rmtree(self.out)
        start = time.monotonic()
        self.finish()
        return time.monotonic() - start

    def steps_logged(self) -> int:
        """Return the last step in metrics.jsonl."""
        try:
            lines = (self.out / "metrics.jsonl").read_text().splitlines()
        except OSError:
            return 0
        return max((int(json.loads(line)["step"]) for line in lines if line[-1:] == "}"), default=0)

    def step_saved(self) -> int:
        """Return the step of the checkpoint, 0 without one."""
        path = self.out / "checkpoint.safetensors"
        return read_tensors(path, FORMAT)[1]["step"] if path.exists() else 0

    def moment(self) -> str:
        """Return what the run has come to, by its files."""
        if (self.out / "result.safetensors").exists():
            return "exporting"
        if not (self.out / "run.json").exists():
            return "starting"
        return "training" if self.steps_logged() else "before the first step"

    def check_files(self) -> None:
        """Read every file that is there."""
        for file in sorted(self.out.rglob("*")):
            if file.name.startswith(".") or file.is_dir():
                continue
            data = file.read_bytes()
            if file.name == "run.json":
                json.loads(data)
            elif file.name == "config.toml":
                Config.load(file)
            elif file.name == "checkpoint.safetensors":
                read_tensors(file, FORMAT)
            elif file.name == "result.safetensors":
                Result.load(file)
            elif file.suffix in (".png", ".gif"):
                np.asarray(Image.open(io.BytesIO(data)))
            elif file.suffix == ".glb":
                assert data[:4] == b"glTF" and int.from_bytes(data[8:12], "little") == len(data)
        leftovers = [p for p in self.out.glob(".*") if not TEMPORARY.fullmatch(p.name)]
        assert not leftovers, leftovers


def kill_runs(place: Path, kills: int, rng: random.Random) -> str:
    """Kill runs at random moments; return what was seen."""
    whole = Run(place / "whole", 3, export=True)
    whole.finish()
    length = whole.length()
    moments: dict[str, int] = {}
    done = runs = 0
    while done < kills:
        run = Run(place / f"killed-{runs}", 3, export=True)
        for _ in range(KILLS_A_RUN):
            process = run.start()
            time.sleep(rng.uniform(0, length))
            os.kill(process, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            run.check_files()
            if code != -signal.SIGKILL:  # it had ended: does not count, and the next come earlier
                length *= 0.9
                break
            length *= 1.03
            moments[run.moment()] = moments.get(run.moment(), 0) + 1
            done += 1
        run.finish()
        run.check_files()
        for name in COMPARED:
            same = (run.out / name).read_bytes() == (whole.out / name).read_bytes()
            assert same, f"{run.out / name} differs from that of an uninterrupted run"
        left = [p.name for p in run.out.rglob("*") if p.name.startswith(".") or "lock" in p.name]
        assert not left, f"{run.out}: {left} are left"
        shutil.rmtree(run.out)
        runs += 1
        print(f"killed {done} of {kills}", flush=True)
    return f"{done} kills in {runs} runs ({_counts(moments)}), all files readable, equal bytes"


def stop_runs(place: Path, stops: int, rng: random.Random) -> str:
    """Stop runs at random moments; return what was seen."""
    whole = Run(place / "unstopped", 0, export=False)
    whole.finish()
    length = whole.length()
    codes: dict[str, int] = {}
    late = 0
    for number in range(stops):
        run = Run(place / f"stopped-{number}", 0, export=False)
        process = run.start()
        time.sleep(rng.uniform(0, length))
        done = run.steps_logged()
        os.kill(process, signal.SIGTERM)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        codes[str(code)] = codes.get(str(code), 0) + 1
        assert code in (0, 143, -signal.SIGTERM), f"exit code {code}\n{run.log.read_text()}"
        saved = run.step_saved()
        assert saved >= done, f"{run.out}: {done} steps were done and {saved} saved"
        late += saved > 0
        run.finish()
        name = "result.safetensors"
        assert (run.out / name).read_bytes() == (whole.out / name).read_bytes(), run.out
        shutil.rmtree(run.out)
        if number % 10 == 9:
            print(f"stopped {number + 1} of {stops}", flush=True)
    return f"{stops} stops (exit codes {_counts(codes)}; {late} with steps done), no step lost"


def _counts(found: dict[str, int]) -> str:
    return ", ".join(f"{key}: {count}" for key, count in sorted(found.items()))


def main() -> None:
    """Read the options, kill and stop."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--stops", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    load_prior("shapes", "cpu")  # loads the libraries before processes are forked
    with tempfile.TemporaryDirectory(prefix="dfast-interrupts-") as place:
        killed = kill_runs(Path(place), options.kills, rng) if options.kills else ""
        stopped = stop_runs(Path(place), options.stops, rng) if options.stops else ""
    print("\n".join(line for line in (killed, stopped) if line))


if __name__ == "__main__":
    main()
