#!/usr/bin/env bash
# A transposed numpy array is saved as if it had not been transposed, and the file is valid.
#
# Expected (written down before the run): safetensors refuses an array whose memory is not in row order, as its half
# for torch does ("You are trying to save a non contiguous tensor"), or writes it in row order. An array in Fortran
# order is contiguous and dense, which is all that the documentation of safetensors.numpy asks for.
# Seen with safetensors 0.8.0 and numpy 2.4.6, 2026-11-29: save_file takes it and loading gives other numbers in the
# same shape: rotation.T comes back as rotation, vertices in Fortran order come back shuffled. The shape is written as
# it is and the bytes as they lie in memory (the array's pointer and its nbytes, without a look at its strides).
# safetensors 0.7.0 gives back what was saved.
# So a camera that was transposed between two conventions is read with the old one: pass numpy.ascontiguousarray(x).
#
# Usage: findings/safetensors_numpy_forgets_transposes.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/see.py" <<'PYTHON'
import sys

import numpy as np
import safetensors
from safetensors.numpy import load, save

rotation = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
vertices = np.asfortranarray(np.arange(12.0).reshape(4, 3))
assert rotation.T.flags.f_contiguous and vertices.flags.f_contiguous
turned, points = load(save({"x": rotation.T}))["x"], load(save({"x": vertices}))["x"]
seen = {
    "the transpose comes back": np.array_equal(turned, rotation.T),
    "the original comes back": np.array_equal(turned, rotation),
    "the vertices come back": np.array_equal(points, vertices),
    "their columns come back as rows": np.array_equal(points.ravel(), vertices.T.ravel()),
}
print(f"safetensors {safetensors.__version__}, numpy {np.__version__}: {seen}; {vertices[1]} read as {points[1]}")
wrong = sys.argv[1] == "0.8.0"
assert list(seen.values()) == [not wrong, wrong, not wrong, wrong], "the behaviour changed"
PYTHON
for version in 0.7.0 0.8.0; do
    python3 -m venv "$folder/venv-$version"
    "$folder/venv-$version/bin/pip" install -q "safetensors==$version" numpy==2.4.6
    "$folder/venv-$version/bin/python" "$folder/see.py" "$version"
done
