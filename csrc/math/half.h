// IEEE half as storage: 16 bits in memory, arithmetic always in float.
#pragma once

#include <cstring>

#include "math/common.h"

#if defined(__CUDACC__)
#include <cuda_fp16.h>
#elif defined(__F16C__)
#include <immintrin.h>
#endif

namespace dfast {

struct Half {
  std::uint16_t bits;
};

// The exact float value of h.
DFAST_HD float to_float(Half h) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(h.bits));
#elif !defined(__CUDACC__) && defined(__F16C__)
  return _cvtsh_ss(h.bits);
#else
  const std::uint32_t sign = static_cast<std::uint32_t>(h.bits & 0x8000u) << 16;
  const std::uint32_t magnitude = h.bits & 0x7fffu;
  std::uint32_t word;
  float value;
  if (magnitude >= 0x7c00u) {  // infinity, NaN
    word = sign | 0x7f800000u | (magnitude & 0x3ffu) << 13;
  } else if (magnitude >= 0x400u) {  // normal: shift the mantissa, re-bias the exponent by 127 - 15
    word = sign | ((magnitude << 13) + (112u << 23));
  } else {  // subnormal: an integer multiple of 2^-24
    value = static_cast<float>(magnitude) * 5.9604644775390625e-8f;
    return sign ? -value : value;
  }
  std::memcpy(&value, &word, sizeof value);
  return value;
#endif
}

// Reads a stored number in the arithmetic type.
template <typename T>
DFAST_HD T widen(float value) {
  return static_cast<T>(value);
}
template <typename T>
DFAST_HD T widen(double value) {
  return static_cast<T>(value);
}
template <typename T>
DFAST_HD T widen(Half value) {
  return static_cast<T>(to_float(value));
}

}  // namespace dfast
