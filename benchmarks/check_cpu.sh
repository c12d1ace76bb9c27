#!/usr/bin/env bash
# Check the CPU kernels for errors that tests of their results do not see: build the extension with AddressSanitizer and
# UndefinedBehaviorSanitizer, and again with ThreadSanitizer, each in a temporary folder, and run the operators' tests
# with both. Needs g++ or clang++, CMake, Ninja and pybind11; takes some 15 minutes on two cores.
#
#   benchmarks/check_cpu.sh            ends with 0 and "ok" for each part if nothing was found
#   benchmarks/check_cpu.sh thread     one part only: "address" or "thread"
#
# Environment: PYTHON is the interpreter, CXX the compiler (g++), WORK the folder for builds and logs, TESTS what pytest
# runs (python_tests/ops), LIMIT the seconds for the tests of each part (3600).
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-python3}
cxx=${CXX:-g++}
work=${WORK:-$(mktemp -d)}
limit=${LIMIT:-3600}
read -ra tests <<< "${TESTS:-python_tests/ops}"
read -ra parts <<< "${*:-address thread}"
mkdir -p "$work"

# What is not an error of ours: Python, torch and OpenMP are not instrumented, so that ThreadSanitizer does not see how
# they synchronise (libgomp waits by futexes of its own). Only what our code does is judged.
cat > "$work/tsan.supp" << 'END'
called_from_lib:libgomp
called_from_lib:libtorch
called_from_lib:libpython
race:^GOMP_
race:^at::
race:^c10::
END

build() { # part, flags
  local folder=$work/$1
  mkdir -p "$folder/site" || return
  # -fno-sanitize-recover: undefined behaviour ends the process, as an error of AddressSanitizer does.
  cmake -G Ninja -S . -B "$folder/build" -DCMAKE_CXX_COMPILER="$cxx" -DDFAST_CUDA=OFF \
    -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS="$2 -g1 -fno-omit-frame-pointer" \
    -DPython_EXECUTABLE="$(command -v "$python")" -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" \
    > "$folder/build.log" 2>&1 && cmake --build "$folder/build" >> "$folder/build.log" 2>&1 || return
  rm -rf "$folder/site/dfast"
  cp -r dfast "$folder/site/dfast" && rm -f "$folder"/site/dfast/_C*.so && cp "$folder"/build/_C*.so "$folder/site/dfast/"
}

run() { # part, libraries to load first, variables
  local folder=$work/$1 library preload=()
  for library in $2 libstdc++.so; do preload+=("$("$cxx" -print-file-name="$library")"); done
  # setarch -R: ThreadSanitizer needs addresses that are not randomised. Compilers that torch starts are not preloaded
  # with a sanitizer, since tests of torch.compile are left out: they compile code, not our kernels.
  env "${@:3}" LD_PRELOAD="${preload[*]}" PYTHONPATH="$folder/site" CUDA_VISIBLE_DEVICES="" OMP_NUM_THREADS=2 \
    setarch -R timeout "$limit" "$python" -P -m pytest -q -x -p no:cacheprovider -m "not gpu" -k "not compile" \
    "${tests[@]}" > "$folder/tests.log" 2>&1
}

failed=0
for part in "${parts[@]}"; do
  case $part in
    address)
      flags="-fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=undefined,float-cast-overflow"
      libraries=libasan.so
      # Python keeps what it allocated until it ends, which is no leak of ours.
      variables=(ASAN_OPTIONS=detect_leaks=0:halt_on_error=1:allocator_may_return_null=1
        UBSAN_OPTIONS=print_stacktrace=1)
      ;;
    thread)
      flags=-fsanitize=thread
      libraries=libtsan.so
      variables=("TSAN_OPTIONS=suppressions=$work/tsan.supp:ignore_noninstrumented_modules=1:exitcode=9")
      ;;
    *)
      echo "expected address or thread, got $part"
      exit 2
      ;;
  esac
  echo "building with the $part sanitizer in $work/$part"
  if ! build "$part" "$flags"; then
    echo "FAILED  $part: the build; log: $work/$part/build.log"
    failed=1
    continue
  fi
  run "$part" "$libraries" "${variables[@]}"
  status=$?
  reports=$(grep -c "ERROR: AddressSanitizer\|runtime error:\|WARNING: ThreadSanitizer" "$work/$part/tests.log")
  if [ $status -eq 0 ] && [ "$reports" -eq 0 ]; then
    echo "ok      $part: $(tail -n 1 "$work/$part/tests.log")"
  else
    echo "FAILED  $part: exit $status (124 is the time limit), $reports reports; log: $work/$part/tests.log"
    grep -m 5 -A 8 "ERROR: AddressSanitizer\|runtime error:\|WARNING: ThreadSanitizer\|^FAILED\|^E  " \
      "$work/$part/tests.log"
    failed=1
  fi
done
exit $failed
