#!/usr/bin/env bash
# Check everything that needs a GPU, in about five minutes: run the GPU tests and, at the same time, every kernel under
# compute-sanitizer's memcheck, initcheck and racecheck (shared memory).
#
#   benchmarks/check_gpu.sh            after `pip install .`, or with the extension built in place
#
# Environment: PYTHON is the interpreter, LOGS the folder for the logs, LIMIT the seconds for each part (600).
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-python3}
limit=${LIMIT:-600}
logs=${LOGS:-$(mktemp -d)}
mkdir -p "$logs"
export CUBLAS_WORKSPACE_CONFIG=:4096:8 OMP_NUM_THREADS=${OMP_NUM_THREADS:-4}
# With an extension built in place the package of this folder is used, otherwise the installed one.
if compgen -G 'dfast/_C*.so' > /dev/null; then export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}; fi

sanitize() { # tool
  # Each tensor is its own allocation, so that an access past its end is past the end of an allocation.
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 CUDA_MODULE_LOADING=LAZY timeout "$limit" "$sanitizer" --tool "$1" \
    --report-api-errors no --error-exitcode 9 --print-limit 20 "$python" benchmarks/exercise_kernels.py
}

sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2> /dev/null)
declare -A job
if [ -n "$sanitizer" ]; then
  for tool in memcheck initcheck racecheck; do
    sanitize $tool > "$logs/$tool.log" 2>&1 &
    job[$tool]=$!
  done
else
  echo "skipped memcheck, initcheck and racecheck: compute-sanitizer is not on PATH"
fi
timeout "$limit" "$python" -P -m pytest -m gpu -q -p no:cacheprovider --durations=5 python_tests \
  > "$logs/tests.log" 2>&1 &
job[tests]=$!

failed=0
for part in tests memcheck initcheck racecheck; do
  [ -n "${job[$part]:-}" ] || continue
  wait "${job[$part]}"
  status=$?
  if [ $status -eq 9 ] && ! grep -q 'at .*dfast' "$logs/$part.log"; then
    echo "note    $part: reports on other libraries' kernels only"
    status=0
  fi
  if [ $status -eq 0 ]; then
    echo "ok      $part"
  else
    echo "FAILED  $part (exit $status, 124 is the time limit); log: $logs/$part.log"
    failed=1
  fi
  if [ $part = tests ]; then tail -n 25 "$logs/$part.log"; else grep -m 12 \
    'every kernel ran\|ERROR SUMMARY\|RACECHECK SUMMARY\|Error:\|Invalid\|Uninitialized\|at .*dfast' "$logs/$part.log"; fi
done
exit $failed
