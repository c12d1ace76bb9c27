// The maps from the MLP's outputs to density and albedo, each beside its derivative.
#pragma once

#include <cmath>

#include "math/common.h"

namespace dfast {

enum class Blob : int { kNone = 0, kLinear = 1, kGaussian = 2 };
enum class Activation : int { kSoftplus = 0, kExp = 1 };

// density = scale * phi(logit + bias + blob(x)), where phi is softplus or exp; albedo = sigmoid of the
// other outputs.
struct DensityHead {
  Activation activation = Activation::kSoftplus;
  double scale = 1.0, bias = 0.0;
  Blob blob = Blob::kNone;
  double blob_height = 0.0, blob_width = 1.0;
};

// The logit at which the exp activation is clamped. A density of exp(15) = 3.3e6 per unit length is as opaque as any
// larger one.
constexpr double kExpLimit = 15.0;

// Returns the bump from which the object grows, and writes its gradient (0 at the origin): height (1 - r / width) or
// height exp(-r^2 / (2 width^2)).
template <class T>
DFAST_HD T blob_of(const DensityHead& head, const T* x /* [3] */, T* gradient /* [3] or null */) {
  const T squared = x[0] * x[0] + x[1] * x[1] + x[2] * x[2];
  const T height = static_cast<T>(head.blob_height), width = static_cast<T>(head.blob_width);
  T value = T(0), along = T(0);  // gradient = along * x
  if (head.blob == Blob::kGaussian) {
    value = height * std::exp(squared * (T(-0.5) / (width * width)));
    along = -value / (width * width);
  } else if (head.blob == Blob::kLinear) {
    const T r = std::sqrt(squared);
    value = height * (T(1) - r / width);
    along = r > T(0) ? -height / (width * r) : T(0);
  }
  if (gradient) {
    for (int c = 0; c < 3; ++c) gradient[c] = along * x[c];
  }
  return value;
}

template <class T>
DFAST_HD T sigmoid(T s) {
  return T(1) / (T(1) + std::exp(-s));
}

// density and dtau/ds at s = logit + bias + blob.
template <class T>
DFAST_HD T density_of(const DensityHead& head, T s, T* slope) {
  const T scale = static_cast<T>(head.scale);
  if (head.activation == Activation::kExp) {
    const T limit = static_cast<T>(kExpLimit);
    const bool above = s > limit;  // false for NaN, which must be propagated
    const T value = scale * std::exp(above ? limit : s);
    *slope = above ? T(0) : value;
    return value;
  }
  *slope = scale * sigmoid(s);
  return scale * ((s > T(0) ? s : T(0)) + std::log1p(std::exp(s > T(0) ? -s : s)));
}

}  // namespace dfast
