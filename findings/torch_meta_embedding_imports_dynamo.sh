#!/usr/bin/env bash
# A layer made on the meta device to save time takes longer: an embedding there imports the whole compiler.
#
# Expected (guessed before the run): a network made under torch.device("meta"), whose weights are then assigned from a
# file, starts sooner than one whose weights are drawn first; no layer needs torch._dynamo, as Linear and Conv2d do not.
# Seen with torch 2.13.0 on a CPU, 2026-11-30: Linear and Conv2d load no module of torch._dynamo there. Embedding(3, 3)
# loads it, and takes 0.8 to 0.9 seconds, where on the CPU it takes under a millisecond. Linear draws with uniform_,
# Embedding with normal_; normal_ of a tensor on the meta device does the same.
# So the usual way to load a large model fast costs a small one, such as a text encoder, a second.
#
# Usage: findings/torch_meta_embedding_imports_dynamo.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 numpy
cat > "$folder/see.py" <<'PYTHON'
import sys
import time

import torch


def made(what, device):
    """Return the seconds that a layer takes, and whether torch._dynamo is loaded after it."""
    start = time.perf_counter()
    with torch.device(device):
        what()
    return time.perf_counter() - start, "torch._dynamo" in sys.modules


LAST = {
    "Embedding": lambda: torch.nn.Embedding(3, 3),
    "normal_": lambda: torch.empty(3, 3).normal_(),
}
last = sys.argv[1]
for name, what, device, loads in (
    ("Linear", lambda: torch.nn.Linear(3, 3), "meta", False),
    ("Conv2d", lambda: torch.nn.Conv2d(3, 3, 3), "meta", False),
    (last, LAST[last], "cpu", False),
    (last, LAST[last], "meta", True),
):
    seconds, loaded = made(what, device)
    print(f"torch {torch.__version__} {name} on {device}: {seconds:.4f} s, torch._dynamo loaded: {loaded}")
    assert loaded == loads, f"the behaviour changed: {name} on {device}"
PYTHON
"$folder/venv/bin/python" "$folder/see.py" Embedding
"$folder/venv/bin/python" "$folder/see.py" normal_
