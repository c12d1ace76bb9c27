// Activations after a normalisation, and moments that can be merged.
#pragma once

#include <cmath>
#include <type_traits>

#include "math/common.h"

namespace dfast {

enum class Nonlinearity : int { kNone = 0, kSilu = 1, kGelu = 2 };

DFAST_HD float exp_of(float v) {
#if defined(__CUDA_ARCH__)
  return __expf(v);  // error of 2 + 1.2 |v| units in the last place
#else
  return std::exp(v);
#endif
}
DFAST_HD double exp_of(double v) { return exp(v); }
DFAST_HD float erf_of(float v) { return erff(v); }
DFAST_HD double erf_of(double v) { return erf(v); }

// 1 / (1 + e^-z). On a GPU subnormal numbers count as zeros, which changes no result here and needs fewer instructions.
DFAST_HD float logistic(float z) {
#if defined(__CUDA_ARCH__)
  float power, inverse;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(-1.44269504f * z));  // e^-z
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(1.0f + power));
  return inverse;
#else
  return 1.0f / (1.0f + exp_of(-z));
#endif
}
DFAST_HD double logistic(double z) { return 1.0 / (1.0 + exp(-z)); }

// The cumulative distribution function of the normal distribution.
template <class T>
DFAST_HD T normal_cdf(T z) {
  return T(0.5) * (T(1) + erf_of(z * T(0.70710678118654752)));
}

// silu: z logistic(z); gelu: z normal_cdf(z), the exact one.
template <class T>
DFAST_HD T activate(Nonlinearity kind, T z) {
  if (kind == Nonlinearity::kSilu) return z * logistic(z);
  if (kind == Nonlinearity::kGelu) return z * normal_cdf(z);
  return z;
}

// silu: s (1 + z (1 - s)) with s = logistic(z); gelu: normal_cdf(z) + z e^(-z^2 / 2) / sqrt(2 pi)
template <class T>
DFAST_HD T activate_derivative(Nonlinearity kind, T z) {
  if (kind == Nonlinearity::kSilu) {
    const T s = logistic(z);
    return s * (T(1) + z * (T(1) - s));
  }
  if (kind == Nonlinearity::kGelu) return normal_cdf(z) + z * exp_of(T(-0.5) * z * z) * T(0.39894228040143268);
  return T(1);
}

// Calls f with the activation as a compile-time constant, which loops then need not test.
template <class F>
DFAST_HD void with_activation(Nonlinearity kind, const F& f) {
  switch (kind) {
    case Nonlinearity::kSilu:
      return f(std::integral_constant<Nonlinearity, Nonlinearity::kSilu>());
    case Nonlinearity::kGelu:
      return f(std::integral_constant<Nonlinearity, Nonlinearity::kGelu>());
    default:
      return f(std::integral_constant<Nonlinearity, Nonlinearity::kNone>());
  }
}

// The mean of numbers, and the sum of squared distances from it. Parts with counts n_i, means m_i and sums s_i together
// have the mean sum n_i m_i / n and the sum  sum s_i + sum n_i (m_i - mean)^2, without differences of large numbers
// (Chan et al. 1983).
template <class T>
struct Moments {
  T mean, sum;
};

// Returns the moments of n numbers v, given the sums of (v - origin) and (v - origin)^2 for an origin near them.
template <class T>
DFAST_HD Moments<T> shifted_moments(T origin, T sum, T squares, T n) {
  const T off = sum / n, rest = squares - sum * off;
  return {origin + off, rest > T(0) ? rest : T(0)};
}

}  // namespace dfast
