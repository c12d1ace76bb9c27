// Adam (Kingma & Ba, arXiv 1412.6980) over a list of tensors in two launches without host synchronisation.
//
// The first computes the norm of all gradients together and updates the counters in `status`; the second updates every
// entry, unless that norm is not finite. With t the number of steps taken so far, this one included:
//   m += (1 - beta1) (g - m),  v = beta2 v + (1 - beta2) g^2
//   p -= rate factor / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps)
#pragma once

#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "math/half.h"
#include "ops/launcher.h"

namespace dfast {

constexpr int kAdamMaxTensors = 16;                 // tensors per call
constexpr int kMaxNormBlocks = 1024;                // partial sums of the norm on CUDA
constexpr int kAdamWorkspace = 1 + kMaxNormBlocks;  // a counter of blocks, then the partial sums

// The entries of status [kAdamStatus].
enum AdamStatus {
  kNorm,     // norm of all gradients together; not finite if any entry is not, or if the sum of squares overflows
  kStep,     // number of steps taken
  kSkipped,  // number of steps skipped because kNorm was not finite
  kStreak,   // number of steps skipped in a row until now
  kAdamStatus
};

template <class T>
DFAST_HD bool is_finite(T value) {
  return value - value == T(0);
}

// Updates the step counters for gradients of the given norm.
template <class T>
DFAST_HD void note_norm(T norm, T* status) {
  const bool taken = is_finite(norm);
  status[kNorm] = norm;
  status[kStep] += taken ? T(1) : T(0);
  status[kSkipped] += taken ? T(0) : T(1);
  status[kStreak] = taken ? T(0) : status[kStreak] + T(1);
}

// The factors that all entries of a step share.
template <class T>
struct AdamRule {
  T toward1;  // 1 - beta1
  T beta2;
  T toward2;  // 1 - beta2
  T factor;   // schedule factor / (1 - beta1^t)
  T root;     // 1 / sqrt(1 - beta2^t)
  T eps;
};

template <class T>
struct AdamSettings {
  T toward1, beta2, toward2, eps;
  T log1, log2;  // log(beta1), log(beta2); -infinity for 0
};

template <class T>
inline AdamSettings<T> adam_settings(double beta1, double beta2, double eps) {
  return {T(1.0 - beta1), T(beta2), T(1.0 - beta2), T(eps), T(std::log(beta1)), T(std::log(beta2))};
}

// Computes 1 - beta^t by expm1, which is accurate when beta is near 1.
template <class T>
DFAST_HD AdamRule<T> adam_rule(const AdamSettings<T>& s, T step, T factor) {
  return {
      s.toward1, s.beta2, s.toward2, factor / -std::expm1(step * s.log1), T(1) / std::sqrt(-std::expm1(step * s.log2)),
      s.eps};
}

template <class T>
DFAST_HD void adam_entry(const AdamRule<T>& rule, T rate, T g, T& p, T& m, T& v) {
  m += rule.toward1 * (g - m);
  v = rule.beta2 * v + rule.toward2 * g * g;
  p -= rate * m / (std::sqrt(v) * rule.root + rule.eps);
}

template <class T>
struct AdamTensor {
  T* param;              // [n]
  const T* grad;         // [n]
  T* exp_avg;            // [n] m
  T* exp_avg_sq;         // [n] v
  Half* half_copy;       // [n], nullable: a half copy of param
  T rate;                // base learning rate
  std::int64_t entries;  // n
};

// Tensors cut into chunks of a fixed size, none of which spans two tensors, so that the result of a chunk depends on
// its own entries only.
template <class Tensor>
struct Chunks {
  Tensor tensors[kAdamMaxTensors];
  std::int64_t first[kAdamMaxTensors + 1];  // chunk at which tensor i starts
  int count = 0;

  std::int64_t total() const { return first[count]; }

  // The tensor that chunk c cuts.
  DFAST_HD int find(std::int64_t c) const {
    int i = 0;
    while (c >= first[i + 1]) ++i;
    return i;
  }

  void add(const Tensor& tensor, std::int64_t entries, std::int64_t chunk) {
    if (count == kAdamMaxTensors) throw std::invalid_argument("adam: at most 16 tensors a call");
    if (count == 0) first[0] = 0;
    tensors[count] = tensor;
    first[count + 1] = first[count] + (entries + chunk - 1) / chunk;
    ++count;
  }
};

// Sums in a fixed order: the same gradients give the same bits.
template <class T>
struct GradientNormParams {
  std::vector<const T*> grads;        // each [entries[i]]
  std::vector<std::int64_t> entries;  // numbers in each tensor
  double* workspace;                  // [kAdamWorkspace], zeroed before its first use; CUDA only
  T* status;                          // [kAdamStatus]

  DFAST_FIELDS(grads, entries, workspace, status)
};

// Does nothing when `status` says that the norm is not finite.
template <class T>
struct AdamStepParams {
  std::vector<T*> params;             // each [entries[i]]
  std::vector<const T*> grads;        // each [entries[i]]
  std::vector<T*> exp_avg;            // each [entries[i]] m
  std::vector<T*> exp_avg_sq;         // each [entries[i]] v
  std::vector<Half*> half_copies;     // each [entries[i]] or null
  std::vector<double> rates;          // base learning rates
  std::vector<std::int64_t> entries;  // numbers in each tensor
  double beta1, beta2, eps;
  const T* factor;  // [1] multiplies the learning rates
  const T* status;  // [kAdamStatus]

  DFAST_FIELDS(params, grads, exp_avg, exp_avg_sq, half_copies, rates, entries, beta1, beta2, eps, factor, status)
};

#define DFAST_ADAM(X) DFAST_FLOATS(X, gradient_norm, GradientNormParams) DFAST_FLOATS(X, adam_step, AdamStepParams)
DFAST_ADAM(DFAST_DECLARE)

}  // namespace dfast
