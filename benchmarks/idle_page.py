"""What an idle page costs a run: the same steps with nobody watching and with a page shown.

Both runs make the same bytes, so every step is compared with itself. The page is shown by a process
that speaks viser's protocol and draws nothing, since what a browser takes is its own affair. On a
busy machine two runs differ by more than the page costs; the shares are measured within one run:
what the page's callback takes of the clock and of the processor, and what other threads of the
process take, among them the page's server. Usage:

    python benchmarks/idle_page.py [--steps 60] [--repeat 3] [--device cpu] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from typing import Any

import dfast
from dfast.runs.events import Event

BROWSER = """
import sys, msgspec, viser
from websockets.sync.client import connect
camera = {
    "type": "ViewerCameraMessage", "wxyz": [0.5, 0.5, -0.5, -0.5], "position": [3.2, 0.0, 0.0],
    "fov": 0.7, "near": 0.01, "far": 1000.0, "image_height": 800, "image_width": 1280,
    "look_at": [0.0, 0.0, 0.0], "up_direction": [0.0, 0.0, 1.0],
}
protocol = f"viser-v{viser.__version__}"
with connect(sys.argv[1], subprotocols=[protocol], max_size=None) as page:
    page.send(msgspec.msgpack.encode(camera))
    for message in page:
        pass
"""
"""A visitor in front of the object, 1280 x 800 pixels."""
FIRST = 5
"""Steps that do not count: the page loads and gets its first pictures."""


class Watch:
    """Measures the steps of a run, and what its page does between them.

    Args:
        viewer: the page.
        watched: whether a visitor comes, for whom the first step waits.
    """

    def __init__(self, viewer: dfast.Viewer, *, watched: bool) -> None:
        self.viewer, self.watched = viewer, watched
        self.processor = self.thread = self.wall = self.page = self.page_processor = 0.0

    def __call__(self, event: Event) -> None:
        while self.watched and not self.viewer._page.watched:
            time.sleep(0.1)
        if event.step == FIRST:
            self.processor, self.wall = time.process_time(), time.perf_counter()
            self.thread = time.thread_time()
        began, began_processor = time.perf_counter(), time.thread_time()
        self.viewer(event)
        if event.step > FIRST:
            self.page += time.perf_counter() - began
            self.page_processor += time.thread_time() - began_processor
        if event.step == event.steps:
            self.processor = time.process_time() - self.processor
            self.thread = time.thread_time() - self.thread
            self.wall = time.perf_counter() - self.wall


def measure(steps: int, device: str, *, watched: bool) -> dict[str, float]:
    """Return seconds a step of processor and of clock, and the shares of the page."""
    with dfast.Viewer(port=0) as viewer:
        watch = Watch(viewer, watched=watched)
        if watched:
            address = viewer.url.replace("http", "ws")
            visitor = subprocess.Popen([sys.executable, "-c", BROWSER, address])
        config = {"train": {"preview_every": 0, "checkpoint_every": 0}}
        dfast.train(
            "a red chair",
            steps=steps,
            device=device,
            config=config,
            callbacks=[watch],
            progress=False,
        )
        if watched:
            assert visitor.poll() is None, "the visitor left"
            visitor.kill()
            visitor.wait()
    count = steps - FIRST
    return {
        "processor_s": watch.processor / count,
        "wall_s": watch.wall / count,
        "page_share": watch.page / watch.wall,
        "page_processor_share": watch.page_processor / watch.processor,
        "other_threads_share": (watch.processor - watch.thread) / watch.processor,
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
    }
    for key in ("page_share", "page_processor_share", "other_threads_share"):
        summary[key] = statistics.median(row[key] for row in rows["idle page"])
    print(json.dumps({k: v for k, v in summary.items() if k != "runs"}, indent=2))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(summary, file, indent=2)
            file.write("\n")


if __name__ == "__main__":
    main()
