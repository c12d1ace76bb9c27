#!/usr/bin/env bash
# Check the CPU kernels for errors that tests of their results do not see: build the extension with AddressSanitizer and
# UndefinedBehaviorSanitizer, and again with ThreadSanitizer, each in a temporary folder, and run the operators' tests
# with both. Needs g++ or clang++ and pybind11; takes some 15 minutes on two cores.
#
#   benchmarks/check_cpu.sh            ends with 0 and "ok" for each part if nothing was found
#   benchmarks/check_cpu.sh thread     one part only: "address" or "thread"
#
# Environment: PYTHON is the interpreter, CXX the compiler (g++), ARCH its -march, WORK the folder for builds and logs,
# TESTS what pytest runs (python_tests/ops), LIMIT the seconds for the tests of each part (3600).
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-python3}
cxx=${CXX:-g++}
arch=${ARCH-$(uname -m | sed -n 's/x86_64/x86-64-v3/p')}
work=${WORK:-$(mktemp -d)}
limit=${LIMIT:-3600}
read -ra tests <<< "${TESTS:-python_tests/ops}"
read -ra parts <<< "${*:-address thread}"
mkdir -p "$work"

# Python, torch and its OpenMP (libgomp, which waits by futexes of its own) are not instrumented, so that
# ThreadSanitizer cannot see how they synchronise. `ignore_noninstrumented_modules` leaves out what they do themselves;
# what they call of torch's own code is suppressed by name. Everything in csrc is judged.
cat > "$work/tsan.supp" << 'END'
race:^GOMP_
race:^at::
race:^c10::
END

build() { # part, flags
  local folder=$work/$1 site=$work/$1/site file suffix options includes checks
  rm -rf "$folder" && mkdir -p "$site" && cp -r dfast "$site/dfast" && rm -f "$site"/dfast/_C*.so || return
  suffix=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
  read -ra includes <<< "$("$python" -m pybind11 --includes)"
  # -O1 instead of -O3: with the checks, the vectorised templates take half an hour to compile otherwise.
  read -ra options <<< "-std=c++17 -O1 -g1 -fno-omit-frame-pointer -fPIC -ffp-contract=fast -fno-math-errno"
  options+=(-fvisibility=hidden -Icsrc "${includes[@]}" '-DDFAST_VERSION="sanitized"' "-DDFAST_CPU_ARCH=\"$arch\"")
  options+=('-DDFAST_NO_CUDA="built by check_cpu.sh"')
  if [ -n "$arch" ]; then options+=("-march=$arch"); fi
  for file in csrc/bindings.cpp csrc/cpu/*.cpp csrc/cpu/*/*.cpp; do
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
    checks=$2
    # The bindings only pass addresses on, and pybind11's templates take a quarter of an hour with the checks.
    if [ "$file" = csrc/bindings.cpp ]; then checks=; fi
    # shellcheck disable=SC2086  # several flags
    "$cxx" "${options[@]}" $checks -c "$file" -o "$folder/$(basename "$file").o" >> "$folder/build.log" 2>&1 &
  done
  wait
  for file in csrc/bindings.cpp csrc/cpu/*.cpp csrc/cpu/*/*.cpp; do
    [ -s "$folder/$(basename "$file").o" ] || return
  done
  # shellcheck disable=SC2086
  "$cxx" "${options[@]}" $2 -shared "$folder"/*.o -o "$site/dfast/_C$suffix" >> "$folder/build.log" 2>&1
}

run() { # part, libraries to load first, variables
  local folder=$work/$1 library preload=()
  for library in $2 libstdc++.so; do preload+=("$("$cxx" -print-file-name="$library")"); done
  # setarch -R: ThreadSanitizer needs addresses that are not randomised. Compilers that torch starts are not preloaded
  # with a sanitizer, since tests of torch.compile are left out: they compile code, not our kernels.
  timeout "$limit" setarch -R env "${@:3}" PYTHONPATH="$folder/site" CUDA_VISIBLE_DEVICES="" OMP_NUM_THREADS=2 \
    LD_PRELOAD="${preload[*]}" "$python" -P -m pytest -q -x -p no:cacheprovider -m "not gpu" -k "not compile" \
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
