// The residual addition of a transformer and the layer normalisation that follows it:
//
//   s = x + add,  y = (s - mean) / sqrt(variance + eps) weight + bias
//
// mean and variance are taken over a row. Statistics are those of s before it is rounded.
#pragma once
#include <cstdint>

#include "math/half.h"
#include "ops/launcher.h"

namespace dfast {

template <class S>
struct LayerNormParams {
  using T = typename Arithmetic<S>::type;
  const S* x;        // [N, C]
  const S* add;      // [N, C]; null: zeros
  const S* weight;   // [C]
  const S* bias;     // [C]
  int64_t rows;      // N
  int64_t channels;  // C
  T eps;
  S* sum;  // [N, C]; null where add is
  S* y;    // [N, C]

  DFAST_FIELDS(x, add, weight, bias, rows, channels, eps, sum, y)
};

// Returns y of one number of a row.
template <class S, class T>
DFAST_HD S layer_normalized(T s, T mean, T rstd, S weight, S bias) {
  return narrow<S>((s - mean) * rstd * widen<T>(weight) + widen<T>(bias));
}

#define DFAST_LAYER_NORM(X) DFAST_STORED(X, layer_norm, LayerNormParams)
DFAST_LAYER_NORM(DFAST_DECLARE)

}  // namespace dfast
