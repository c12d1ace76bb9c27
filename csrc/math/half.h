// IEEE half and bfloat16 as storage: 16 bits in memory, arithmetic always in float.
#pragma once

#include <cstring>

#include "math/common.h"

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#elif defined(__F16C__)
#include <immintrin.h>
#endif

namespace dfast {

struct Half {
  std::uint16_t bits;
};

// Returns the exact float value of h.
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

// Returns the half nearest to `value`, ties to even; infinity beyond 65504.
DFAST_HD Half to_half(float value) {
#if defined(__CUDA_ARCH__)
  return {__half_as_ushort(__float2half_rn(value))};
#elif !defined(__CUDACC__) && defined(__F16C__)
  return {static_cast<std::uint16_t>(_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT))};
#else
  std::uint32_t word;
  std::memcpy(&word, &value, sizeof word);
  const std::uint32_t sign = word >> 16 & 0x8000u;
  std::uint32_t magnitude = word & 0x7fffffffu;
  std::uint32_t bits;
  if (magnitude > 0x7f800000u) {  // NaN
    bits = 0x7e00u | (magnitude >> 13 & 0x1ffu);
  } else if (magnitude >= 0x47800000u) {  // 65536 and more
    bits = 0x7c00u;
  } else if (magnitude < 0x38800000u) {  // subnormal: adding 0.5 leaves the rounded multiple of 2^-24 in the mantissa
    float sum;
    std::memcpy(&sum, &magnitude, sizeof sum);
    sum += 0.5f;
    std::memcpy(&bits, &sum, sizeof bits);
    bits -= 0x3f000000u;
  } else {  // round to even, then re-bias the exponent; a carry out of the mantissa rounds up correctly
    bits = (magnitude + 0xfffu + (magnitude >> 13 & 1u) - (112u << 23)) >> 13;
  }
  return {static_cast<std::uint16_t>(sign | bits)};
#endif
}

// The upper 16 bits of a float.
struct Bfloat16 {
  std::uint16_t bits;
};

// Returns the exact float value of b.
DFAST_HD float to_float(Bfloat16 b) {
  const std::uint32_t word = static_cast<std::uint32_t>(b.bits) << 16;
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

// Returns the bfloat16 nearest to `value`, ties to even.
DFAST_HD Bfloat16 to_bfloat16(float value) {
#if defined(__CUDA_ARCH__)
  return {__bfloat16_as_ushort(__float2bfloat16_rn(value))};
#else
  std::uint32_t word;
  std::memcpy(&word, &value, sizeof word);
  if ((word & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>(word >> 16 | 0x40u)};  // NaN stays NaN
  return {static_cast<std::uint16_t>((word + 0x7fffu + (word >> 16 & 1u)) >> 16)};
#endif
}

// The type in which numbers stored as S are computed.
template <class S>
struct Arithmetic {
  using type = float;
};
template <>
struct Arithmetic<double> {
  using type = double;
};

// Returns the stored number nearest to a value.
template <class S>
DFAST_HD S narrow(double value) {
  return static_cast<S>(value);
}
template <class S>
DFAST_HD S narrow(float value) {
  return static_cast<S>(value);
}
template <>
DFAST_HD Half narrow<Half>(float value) {
  return to_half(value);
}
template <>
DFAST_HD Bfloat16 narrow<Bfloat16>(float value) {
  return to_bfloat16(value);
}

// Returns a stored number in the arithmetic type.
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
template <typename T>
DFAST_HD T widen(Bfloat16 value) {
  return static_cast<T>(to_float(value));
}

}  // namespace dfast
