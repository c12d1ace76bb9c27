"""What an idle page costs a run: the same steps with nobody watching and with a page in Chromium.

Both runs make the same bytes, so every step is compared with itself. Processor time of the training
process counts all of its threads, the page's server included, and hardly depends on what else the
machine does; the browser is a process of its own. Usage:

    python benchmarks/idle_page.py [--steps 60] [--repeat 3] [--device cpu] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import threading
import time
from typing import Any

import dfast
from dfast.runs.events import Event

FLAGS = ["--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
FIRST = 5
"""Steps that do not count: the page loads and gets its first pictures."""


def browse(url: str, shown: threading.Event, leave: threading.Event) -> None:
    """Show a page until told to leave."""
    from playwright.sync_api import sync_playwright

    command = shutil.which("chromium") or shutil.which("chromium-headless-shell")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=command, args=FLAGS)
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        tab.goto(url)
        tab.get_by_text("dfast", exact=True).wait_for()
        shown.set()
        leave.wait()
        browser.close()


class Watch:
    """Measures the steps of a run, and what its page does between them.

    Args:
        view: the page.
        shown: is set when a browser shows it.
    """

    def __init__(self, view: dfast.View, shown: threading.Event | None) -> None:
        self.view, self.shown = view, shown
        self.step = self.processor = self.wall = self.page = 0.0

    def __call__(self, event: Event) -> None:
        if event.step == 1 and self.shown is not None:
            self.shown.wait(120)
            while not self.view._page.watched:
                time.sleep(0.1)
        if event.step == FIRST:
            self.processor, self.wall = time.process_time(), time.perf_counter()
        began = time.perf_counter()
        self.view(event)
        if event.step > FIRST:
            self.page += time.perf_counter() - began
        if event.step == event.steps:
            self.processor = time.process_time() - self.processor
            self.wall = time.perf_counter() - self.wall


def measure(steps: int, device: str, *, watched: bool) -> dict[str, float]:
    """Return seconds a step of processor and of clock, and the share of the page's callback."""
    shown, leave = threading.Event(), threading.Event()
    with dfast.View(port=0) as view:
        watch = Watch(view, shown if watched else None)
        browser = threading.Thread(target=browse, args=(view.url, shown, leave))
        if watched:
            browser.start()
        config = {"train": {"preview_every": 0, "checkpoint_every": 0}}
        dfast.train(
            "a red chair",
            steps=steps,
            device=device,
            config=config,
            callbacks=[watch],
            progress=False,
        )
        leave.set()
        if watched:
            browser.join()
    count = steps - FIRST
    return {
        "processor_s": watch.processor / count,
        "wall_s": watch.wall / count,
        "page_share": watch.page / watch.wall,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    import torch  # after dfast, which makes its threads wait passively

    rows: dict[str, list[dict[str, float]]] = {"alone": [], "idle page": []}
    for _ in range(options.repeat):
        for name, found in rows.items():
            found.append(measure(options.steps, options.device, watched=name != "alone"))
            print(name, {k: round(v, 4) for k, v in found[-1].items()}, flush=True)
    ratios = {
        key: [b[key] / a[key] - 1 for a, b in zip(rows["alone"], rows["idle page"], strict=True)]
        for key in ("processor_s", "wall_s")
    }
    summary: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads",
        "device": options.device,
        "steps": options.steps,
        "runs": rows,
        "more_processor_time": statistics.median(ratios["processor_s"]),
        "more_wall_time": statistics.median(ratios["wall_s"]),
        "page_share": statistics.median(row["page_share"] for row in rows["idle page"]),
    }
    print(json.dumps({k: v for k, v in summary.items() if k != "runs"}, indent=2))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(summary, file, indent=2)
            file.write("\n")


if __name__ == "__main__":
    main()
