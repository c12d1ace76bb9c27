// The native boundary: how a launcher is declared, instantiated and described to Python.
//
// A launcher has the signature `template <class T> void name(Launch, const NameParams<T>&)` and exists once in
// dfast::cpu and once in dfast::cuda. Its parameter struct lists its own members with DFAST_FIELDS; bindings.cpp fills
// the struct from keyword arguments of the same names. Each op's header ends with one list of its launchers, from which
// the declarations, the explicit instantiations of both back ends and the rows of bindings.cpp are generated:
//
//   #define DFAST_SHADE(X) DFAST_FLOATS(X, shade, ShadeParams) DFAST_FLOATS(X, shade_backward, ShadeBackwardParams)
//   DFAST_SHADE(DFAST_DECLARE)        in csrc/ops/shade.h
//   DFAST_SHADE(DFAST_INSTANTIATE)    at the end of csrc/cpu/shade.cpp and of csrc/cuda/shade.cu
//   DFAST_SHADE(DFAST_BIND)           in csrc/bindings.cpp
#pragma once

#include <tuple>

#include "math/common.h"

namespace dfast {

// Where a launcher runs. The caller keeps every tensor alive until the launcher returns; on CUDA the launcher only
// enqueues on `stream`, and torch's allocator keeps freed memory in stream order.
struct Launch {
  int device = -1;         // CUDA device index; unused on the CPU
  void* stream = nullptr;  // cudaStream_t; unused on the CPU
  int threads = 1;         // number of CPU threads that may be used; results never depend on it
};

}  // namespace dfast

// Describes a parameter struct: `field_names` is the list of members as written, fields() ties them in the same order.
// A member that is itself described contributes its own fields in place (structs nest, Python's names do not).
#define DFAST_FIELDS(...)                                  \
  static constexpr const char* field_names = #__VA_ARGS__; \
  auto fields() { return std::tie(__VA_ARGS__); }

// The scalar types of a launcher: X(name, Params, type, suffix of the binding) for each.
#define DFAST_FLOATS(X, name, Params) X(name, Params, float, "f32") X(name, Params, double, "f64")
#define DFAST_STORED(X, name, Params) \
  DFAST_FLOATS(X, name, Params) X(name, Params, Half, "f16") X(name, Params, Bfloat16, "bf16")

#define DFAST_DECLARE(name, Params, T, suffix) \
  namespace cpu {                              \
  template <class U>                           \
  void name(Launch, const Params<U>&);         \
  }                                            \
  namespace cuda {                             \
  template <class U>                           \
  void name(Launch, const Params<U>&);         \
  }

#define DFAST_INSTANTIATE(name, Params, T, suffix) template void name(Launch, const Params<T>&);
