"""Random command lines, settings files and prompts, run in this process on tiny models."""

from __future__ import annotations

import contextlib
import io
import json
import random
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from oracle import OraclePrior
from tiny_runs import TINY

from dfast.cli.main import main
from dfast.config import Config
from dfast.config.parsing import to_toml
from dfast.config.suggestions import setting_names
from dfast.training import build
from dfast.world.advice import EXAMPLES
from dfast.world.isa import kinds
from dfast.world.synonyms import SYNONYMS
from dfast.world.words import roles

CODES = (0, 2, 130, 143)
"""Exit codes that a command line may have."""
STRANGE = (
    *(
        "",
        " ",
        "0",
        "-1",
        "1",
        "2.0",
        "nan",
        "inf",
        "-inf",
        "1e308",
        "1e-320",
        "9" * 309,
        "9" * 5000,
    ),
    *(
        "true",
        "null",
        "None",
        "[]",
        "{}",
        "[[0.0, 8]]",
        "[1, 2]",
        "'",
        '"',
        '"a',
        "a\nb",
        "\t",
        "\r",
    ),
    *("ö", "赤い", "\U0001f600", "\ud800", "\udcff", "\x7f", "\x1b[31m", "%s", "{0}", "$HOME", "~"),
    *("[" * 3000, "a." * 400 + "b", "x" * 5000, "a=b=c", "=", "==", "--", "-", "../..", "/", "."),
    *("0x10", "1_000", "1e5", "+3", "2026-01-01", "cuda", "cpu", "cuda:7", "CPU", "mps", "cpu:0"),
)
"""Values that no option expects."""
SETTINGS = tuple(name for name in setting_names(Config) if name.count("."))


class RandomCommands:
    """Random command lines, and the files that they name.

    Args:
        seed: equal seeds give equal command lines.
        home: the current folder of the command lines; it gets settings files.
    """

    def __init__(self, seed: int, home: Path) -> None:
        self.random, self.home = random.Random(seed), home

    def line(self) -> list[str]:
        """Return a command line."""
        commands: list[Callable[[], list[str]]] = [
            *(self._train,) * 5,
            *(self._render, self._export, self._config, self._words),
            *(self._evaluate, self._bench, self._other),
        ]
        line = self.random.choice(commands)()
        if self.random.random() < 0.15:  # one argument more, fewer or another
            place = self.random.randrange(len(line))
            line[place : place + self.random.randrange(2)] = [self._strange()]
        # Whole benchmarks and scores take minutes: those lines must end in a refusal.
        return [*line, "--device", "abacus"] if line[0] in ("bench", "evaluate", "doctor") else line

    def _one_of(self, *values: str) -> str:
        return self.random.choice(values)

    def _strange(self) -> str:
        return self.random.choice(STRANGE)

    def _usual(self, *values: str) -> str:
        """Return one of the values, or sometimes something strange."""
        return self._strange() if self.random.random() < 0.2 else self.random.choice(values)

    def _some(self, options: dict[str, Callable[[], str] | None], chance: float) -> list[str]:
        """Return some of the options with their values; None is the value of a flag."""
        chosen: list[str] = []
        for name, value in options.items():
            if self.random.random() < chance:
                chosen += [name] if value is None else [name, value()]
        return chosen

    def prompt(self) -> str:
        """Return a prompt: a sentence, words of sentences, or anything."""
        kind = self.random.random()
        if kind < 0.4:
            return self._one_of(*EXAMPLES.strip('"').split('", "'), "snowman", "a red cube")
        if kind < 0.8:
            words = ["a", "the", *roles(), *SYNONYMS, *self.random.sample(sorted(kinds()), 50)]
            return " ".join(self.random.choices(words, k=self.random.randrange(1, 7)))
        letters = "".join(self.random.choices("abc äß赤\U0001f600'\"-,.\n\t0", k=12))
        return self._one_of(letters, self._strange())

    def value(self) -> str:
        """Return the value of a setting."""
        number = self.random.choice((0, 1, 2, 3, 4, 8, 16, 0.5, 1e-3, -1, 1e9, 2**31, 100, 2.0))
        return self._usual(
            str(number), f"[{number}, {number}]", "true", "none", "auto", "sds", "csd"
        )

    def override(self) -> str:
        """Return KEY=VALUE."""
        name = self._usual(*SETTINGS)
        return f"{name}={self.value()}" if self.random.random() < 0.95 else self._strange()

    def settings_file(self) -> str:
        """Write a settings file, whole or damaged, and return its name."""
        table: dict[str, Any] = {}
        for _ in range(self.random.randrange(4)):
            section, *_, key = self.random.choice(SETTINGS).split(".")
            value = self.random.choice((1, 2.0, -3, 1e300, True, "sds", "ö\U0001f600", [1, 2], []))
            table.setdefault(section, {})[key] = value
        toml = self.random.random() < 0.5
        data = (to_toml(table) if toml else json.dumps(table)).encode()
        if self.random.random() < 0.3:
            place = self.random.randrange(len(data) + 1)
            data = (
                data[:place] + self.random.randbytes(self.random.randrange(4)) + data[place + 1 :]
            )
        name = "settings.toml" if toml else "settings.json"
        (self.home / name).write_bytes(data)
        return self._usual(name, name, name, "missing.toml", "run", "file")

    def _settings(self) -> list[str]:
        options: dict[str, Callable[[], str] | None] = {
            "--steps": lambda: self._usual("1", "2", "3"),
            "--device": lambda: self._usual("cpu"),
            "--prior": lambda: self._usual("oracle", "shapes", "sd15", "owner/name", "run"),
            "--config": self.settings_file,
            "--preset": lambda: self._usual("default", "dreamfusion"),
            "--set": self.override,
        }
        return self._some(options, 0.25) + self._some({"--set": self.override}, 0.3)

    def _train(self) -> list[str]:
        options: dict[str, Callable[[], str] | None] = {
            "--out": lambda: self._usual("run", "file", "new", "file/x", "other/new"),
            "--resume": None,
            "--seed": lambda: self._usual("0", "3", "2147483648"),
            "--negative": lambda: self._usual("blue"),
            "--dry-run": None,
            "--quiet": None,
        }
        some = self._some(options, 0.25)
        prompt = [] if self.random.random() < 0.1 else [self.prompt()]
        return ["train", *prompt, *some, *self._settings(), "--no-export"]

    def _render(self) -> list[str]:
        out = self._usual("a.png", "b.gif", "c.jpg", "d.webp", "x.tiff", "file/a.png")
        options: dict[str, Callable[[], str] | None] = {
            "--sheet": None,
            "--azimuth": self.value,
            "--elevation": self.value,
            "--shading": lambda: self._usual("studio", "depth", "diffuse", "shiny"),
            "--frames": lambda: self._usual("2", "3", "1", "1" + "0" * 20),
        }
        size = ["--resolution", self._usual("8", "1", "0", "-4")]
        return [
            "render",
            self._usual("run", "new", "no"),
            "--out",
            out,
            *size,
            *self._some(options, 0.2),
        ]

    def _export(self) -> list[str]:
        out = self._usual("a.glb", "a.ply", "a.obj", "a.stl", "a.fbx", "file/a.glb")
        size = ["--resolution", self._usual("8", "12", "7", "513", "-1")]
        level = self._some({"--level": self.value}, 0.4)
        return ["export", self._usual("run", "new", "no"), out, *size, *level]

    def _config(self) -> list[str]:
        return ["config", *self._settings()]

    def _words(self) -> list[str]:
        json = self._some({"--json": lambda: self._usual("-", "words.json", "run")}, 0.3)
        return ["words", *self.prompt().split(), *json]

    def _evaluate(self) -> list[str]:
        options: dict[str, Callable[[], str] | None] = {
            "--prompt": self.prompt,
            "--prompts": lambda: self._usual("file", "missing", "run"),
            "--seeds": lambda: self._usual("1", "0"),
            "--json": lambda: self._usual("-", "a.json"),
        }
        return ["evaluate", *self._some(options, 0.4), *self._settings()]

    def _bench(self) -> list[str]:
        options: dict[str, Callable[[], str] | None] = {
            "--workloads": lambda: self._usual("A", "Z", "A,,B"),
            "--prior": lambda: self._usual("sd15", "no"),
            "--steps": lambda: self._usual("1", "0"),
            "--set": self.override,
            "--random": None,
            "--quick": None,
        }
        return ["bench", *self._some(options, 0.3)]

    def _other(self) -> list[str]:
        return self.random.choice(
            [
                ["priors"],
                ["--version"],
                ["--help"],
                ["trian"],
                ["doctor"],
                ["render", "--help"],
                ["view", "no"],
                ["view", "no", "--port", "65536"],
                ["report", "no"],
                ["report", "new", "--out", "a.png"],
                ["-x"],
            ]
        )


@contextlib.contextmanager
def tiny_models() -> Iterator[None]:
    """Make runs take milliseconds: an analytic prior, small images, two steps, whatever is set."""
    from dfast import priors

    load, family, whole = priors.load_prior, priors.family_of, build.build_trainer
    known = ("oracle", "shapes")

    def load_prior(name: Any, *args: Any, **options: Any) -> Any:
        return OraclePrior(12) if name in known else load(name, *args, **options)

    def family_of(name: Any, **options: Any) -> str:
        return "shapes" if name in known else family(name, **options)

    def build_trainer(config: Config, *args: Any, **options: Any) -> Any:
        return whole(small(config), *args, **options)

    with contextlib.ExitStack() as stack:
        for target, new in {
            "dfast.runs.arguments.load_prior": load_prior,
            "dfast.runs.arguments.family_of": family_of,
            "dfast.runs.train.build_trainer": build_trainer,
            "dfast.runs.timed_steps.build_trainer": build_trainer,
        }.items():
            stack.enter_context(mock.patch(target, new))
        yield


def small(config: Config) -> Config:
    """Return a configuration that trains in milliseconds and is otherwise the given one."""
    grid = TINY.to_dict()["field"]["grid"]
    return config.replace(
        field={"grid": grid | {"base_resolution": 2, "features": config.field.grid.features}},
        occupancy={"resolution": 16},
        march={"step_size": max(config.march.step_size, 0.1)},
        camera={"views": min(config.camera.views, 2), "resolution": [[0.0, 8]]},
        train={"steps": min(config.train.steps, 2), "preview_every": 0},
    )


def make_home(home: Path) -> None:
    """Fill a folder with a finished run, called run, and a file, called file."""
    (home / "file").write_text("a red cube\n")
    (home / "tiny.toml").write_text(TINY.dumps())
    line = ["train", "a red cube", "--out", str(home / "run"), "--config", str(home / "tiny.toml")]
    failure = problem([*line, "--device", "cpu", "--no-export"])
    assert failure is None and (home / "run" / "result.safetensors").exists(), failure


def problem(line: list[str]) -> str | None:
    """Return what is wrong with how a command line ends, None if nothing is.

    Right are the exit codes `CODES`, and with 2 one line on stderr that begins with dfast: error.
    """
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(line)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0
    except BaseException:
        return f"{line!r}:\n{traceback.format_exc()}"
    errors = [text for text in err.getvalue().splitlines() if text.startswith("dfast: error: ")]
    if code not in CODES:
        return f"{line!r}: exit code {code}, {err.getvalue()[-500:]!r}"
    if "Traceback" in err.getvalue() or (code == 2 and len(errors) != 1):
        return f"{line!r}: expected one line, got {err.getvalue()[-500:]!r}"
    return None
