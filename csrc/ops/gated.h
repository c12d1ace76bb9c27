// Element-wise operations between the matrix products of a diffusion model, for which torch launches several kernels.
#pragma once
#include <cstdint>

#include "math/half.h"
#include "math/normalization.h"
#include "ops/launcher.h"

namespace dfast {

// y[n, c] = x[n, c] gelu(x[n, C + c]), arXiv 2002.05202.
template <class S>
DFAST_HD S gated(S value, S gate) {
  using T = typename Arithmetic<S>::type;
  return narrow<S>(widen<T>(value) * activate(Nonlinearity::kGelu, widen<T>(gate)));
}

// y[n, c] = (a[n, c] + b[n, c] + bias[c]) factor: the residual addition of a block with the bias of its last layer.
template <class S, class T>
DFAST_HD S merged(S a, S b, S bias, T factor) {
  return narrow<S>((widen<T>(a) + (widen<T>(b) + widen<T>(bias))) * factor);
}

template <class S>
struct GegluParams {
  const S* x;        // [N, 2, C] values, then gates
  int64_t rows;      // N
  int64_t channels;  // C
  S* y;              // [N, C]

  DFAST_FIELDS(x, rows, channels, y)
};

template <class S>
struct MergeParams {
  const S* a;        // [N, C]
  const S* b;        // [N, C]
  const S* bias;     // [C]
  int64_t rows;      // N
  int64_t channels;  // C
  double factor;
  S* y;  // [N, C]

  DFAST_FIELDS(a, b, bias, rows, channels, factor, y)
};

#define DFAST_GATED(X) DFAST_STORED(X, geglu, GegluParams) DFAST_STORED(X, merge, MergeParams)
DFAST_GATED(DFAST_DECLARE)

}  // namespace dfast
