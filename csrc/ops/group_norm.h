// Group normalisation of channels-last pixels, fused with the operations next to it in a diffusion model:
//
//   u = x + add,  n = (u - mean) rstd,  z = (n weight + bias) (1 + scale) + shift,  y = activation(z)
//
// mean and rstd = 1 / sqrt(variance + eps) are taken over a group of a sample: all rows of channels / groups channels.
//
// Backward to x: with dz = dy activation'(z) and dn = dz weight (1 + scale),
//   dx = rstd (dn - <dn> - n <dn n>),  where < > is the mean over the group.
#pragma once
#include <cstdint>

#include "math/half.h"
#include "math/normalization.h"
#include "ops/launcher.h"

namespace dfast {

template <class S>
struct GroupNormParams {
  using T = typename Arithmetic<S>::type;
  const S* x;            // [B, N, C]
  const S* weight;       // [C]
  const S* bias;         // [C]
  const S* add;          // [B, C], rows add_pitch apart, or [C] if it is 0; null: zero
  const S* scale_shift;  // [B, 2, C] scale, then shift, rows scale_pitch apart; null: zeros
  int64_t batch;         // B
  int64_t rows;          // N
  int64_t channels;      // C
  int64_t groups;        // a divisor of C
  int64_t add_pitch;
  int64_t scale_pitch;
  T eps;
  Nonlinearity activation;

  DFAST_FIELDS(x, weight, bias, add, scale_shift, batch, rows, channels, groups, add_pitch, scale_pitch, eps,
               activation)
};

// The affine map of one channel of one sample: z = n * gain + offset.
template <class T>
struct Affine {
  T gain, offset;
};

template <class S>
DFAST_HD auto channel_affine(const GroupNormParams<S>& p, int64_t b, int64_t c) {
  using T = typename Arithmetic<S>::type;
  Affine<T> affine{widen<T>(p.weight[c]), widen<T>(p.bias[c])};
  if (p.scale_shift != nullptr) {
    const S* row = p.scale_shift + b * p.scale_pitch + c;
    const T scale = T(1) + widen<T>(row[0]);
    affine = {affine.gain * scale, affine.offset * scale + widen<T>(row[p.channels])};
  }
  return affine;
}

// The term of one channel that is added to x before the statistics are taken.
template <class S>
DFAST_HD auto channel_add(const GroupNormParams<S>& p, int64_t b, int64_t c) {
  using T = typename Arithmetic<S>::type;
  return p.add != nullptr ? widen<T>(p.add[b * p.add_pitch + c]) : T(0);
}

// The whole map of one channel of one sample: n = (x + shift) * rstd, z = n * gain + offset. The addition comes first,
// because its result is small and exact where x is near the mean.
template <class T>
struct Channel {
  T shift, rstd, gain, offset;
};

template <class S>
DFAST_HD auto channel_of(const GroupNormParams<S>& p, const typename Arithmetic<S>::type* stats, int64_t b, int64_t c) {
  using T = typename Arithmetic<S>::type;
  const T* s = stats + 2 * (b * p.groups + c / (p.channels / p.groups));
  const Affine<T> affine = channel_affine(p, b, c);
  return Channel<T>{channel_add(p, b, c) - s[0], s[1], affine.gain, affine.offset};
}

// Returns dn of one number and writes its n.
template <class T>
DFAST_HD T normalized_gradient(const Channel<T>& c, Nonlinearity activation, T x, T dy, T& n) {
  n = (x + c.shift) * c.rstd;
  return dy * activate_derivative(activation, n * c.gain + c.offset) * c.gain;
}

template <class S>
struct GroupNormForwardParams {
  using T = typename Arithmetic<S>::type;
  GroupNormParams<S> norm;
  S* y;        // [B, N, C]
  T* stats;    // [B, groups, 2] mean and rstd
  T* scratch;  // [B, groups, kMaxGroupNormSplits, 2], CUDA only

  DFAST_FIELDS(norm, y, stats, scratch)
};

// `norm.eps` is not used: the statistics hold it.
template <class S>
struct GroupNormBackwardParams {
  using T = typename Arithmetic<S>::type;
  GroupNormParams<S> norm;
  const T* stats;  // [B, groups, 2] from the forward pass
  const S* dy;     // [B, N, C]
  const S* other;  // [B, N, C] is added to dx; null: zeros
  S* dx;           // [B, N, C]
  T* scratch;      // [B, groups, kMaxGroupNormSplits, 2], CUDA only

  DFAST_FIELDS(norm, stats, dy, other, dx, scratch)
};

// A sample's rows are reduced in at most this many splits, each of which leaves two numbers per group in `scratch`.
constexpr int64_t kMaxGroupNormSplits = 256;

#define DFAST_GROUP_NORM(X) DFAST_STORED(X, group_norm, GroupNormForwardParams)
#define DFAST_GROUP_NORM_BACKWARD(X) DFAST_STORED(X, group_norm_backward, GroupNormBackwardParams)
DFAST_GROUP_NORM(DFAST_DECLARE)
DFAST_GROUP_NORM_BACKWARD(DFAST_DECLARE)

}  // namespace dfast
