#!/usr/bin/env bash
# Measure everything on a GPU: run `dfast bench` on all workloads and name its file after the GPU.
#
#   benchmarks/run_gpu.sh FOLDER [--workloads A,E ...]     after `pip install .`, or with the extension built in place
#
# FOLDER receives <gpu>.json, table.txt and, with TRACES=1, a Chrome trace of each case. PRIORS=if-m,sd15,sdxl (families
# of `dfast bench --prior`) adds guidance-<gpu>.json: whole steps with random weights of their sizes, which are written to
# TMPDIR first (9 GB for if-xl). Nothing else should use the GPU.
# Environment: PYTHON is the interpreter; DFAST_COMMIT names the commit where there is no checkout.
set -uo pipefail
[ $# -ge 1 ] || { echo "usage: $0 FOLDER [options of dfast bench]" >&2; exit 2; }
mkdir -p "$1" && folder=$(cd "$1" && pwd) || exit 1
shift
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-python3}
# With an extension built in place the package of this folder is used, otherwise the installed one.
if compgen -G 'dfast/_C*.so' > /dev/null; then export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}; fi
name=$("$python" -P -c 'import torch; from dfast.bench.machine import file_name; print(file_name(torch.device("cuda")))') \
  || exit 1
options=(--device cuda --out "$folder/$name")
if [ -n "${TRACES:-}" ]; then options+=(--profile "$folder/traces"); fi
"$python" -P -m dfast bench "${options[@]}" "$@" | tee "$folder/table.txt"
status=$?
if [ -n "${PRIORS:-}" ]; then
  "$python" -P -m dfast bench --device cuda --prior "$PRIORS" --random --out "$folder/guidance-$name" \
    | tee "$folder/guidance.txt" || status=1
fi
exit $status
