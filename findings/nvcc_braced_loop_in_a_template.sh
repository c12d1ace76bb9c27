#!/usr/bin/env bash
# nvcc 13.0 writes C++ that does not compile for a loop over a braced list in a template.
#
# Expected (written down before the run): `for (long long n : {p.a, p.b})` over members of a struct that depends on the
# template's parameter is valid C++11, and compiles as it does with g++ alone.
# Seen with the nvcc 13.0.88 that extensions for torch's CUDA 13.0 wheels are built with, g++ 12.2, 2026-11-30: "error:
# expected ';' before '}' token" in the host compiler, and "'begin' was not declared in this scope". The front end drops
# the list. The same loop outside a template compiles, a list with a name in the template does, and so does all of it with
# nvcc 13.1.115.
#
# Usage: findings/nvcc_braced_loop_in_a_template.sh     needs g++; fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

install() { # folder, version, version of the runtime's headers
  python3 -m venv "$1"
  "$1/bin/pip" install -q "nvidia-cuda-nvcc==$2" "nvidia-cuda-crt==$2" "nvidia-nvvm==$2" "nvidia-cuda-runtime==$3"
}
install old 13.0.88 13.0.96
install new 13.1.115 13.1.80

cat > template.cu <<'CUDA'
#include <initializer_list>
template <class S> struct Sizes { long long rows, columns; };
template <class S> bool whole(const Sizes<S>& p) {
  for (long long n : {p.rows, p.columns}) {
    if (n % 8 != 0) return false;
  }
  return true;
}
template bool whole<float>(const Sizes<float>&);
CUDA
sed 's/{p.rows, p.columns})/all)/; s/^template <class S> bool.*/&\n  const std::initializer_list<long long> all = {p.rows, p.columns};/' template.cu > named.cu
sed 's/^template bool.*//; s/^template <class S> //; s/<S>//' template.cu > plain.cu

compile() { # compiler and its options
  if "$@" -std=c++17 2> messages; then echo compiles; else echo fails; fi
}
g++ --version | head -n 1
seen=$(
  echo "g++ alone: $(compile g++ -x c++ -c template.cu -o out.o)"
  for version in old new; do
    for file in template named plain; do
      echo "nvcc $version, $file: $(compile "$version"/lib/python3*/site-packages/nvidia/cu13/bin/nvcc -arch=sm_90 -c $file.cu -o out.o)"
      if [ $version-$file = old-template ]; then grep -o "expected .*before .*token" messages; fi
    done
  done
)
echo "$seen"
diff <(echo "$seen" | tr -d "'‘’") - <<'SEEN'
g++ alone: compiles
nvcc old, template: fails
expected ; before } token
nvcc old, named: compiles
nvcc old, plain: compiles
nvcc new, template: compiles
nvcc new, named: compiles
nvcc new, plain: compiles
SEEN
