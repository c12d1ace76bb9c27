#include "ops/adam.h"

#include <algorithm>

#include "cpu/parallel.h"

namespace dfast::cpu {

namespace {

constexpr std::int64_t kChunk = 16384;  // entries, which take some ten microseconds
constexpr std::int64_t kRun = 256;      // entries summed in T; the sums of runs are added in double

template <class T>
struct GradientView {
  const T* values;
  std::int64_t entries;
};

template <class T>
double sum_of_squares(const T* values, std::int64_t count) {
  double total = 0;
  for (std::int64_t begin = 0; begin < count; begin += kRun) {
    const std::int64_t end = std::min(count, begin + kRun);
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = begin; i < end; ++i) sum += values[i] * values[i];
    total += static_cast<double>(sum);
  }
  return total;
}

}  // namespace

template <class T>
void gradient_norm(Launch launch, const GradientNormParams<T>& p) {
  Chunks<GradientView<T>> list;
  for (std::size_t i = 0; i < p.grads.size(); ++i) list.add({p.grads[i], p.entries[i]}, p.entries[i], kChunk);
  std::vector<double> partial(list.count ? list.total() : 0);
  parallel_chunks(launch.threads, static_cast<std::int64_t>(partial.size()), 1, [&](std::int64_t c, std::int64_t) {
    const int i = list.find(c);
    const std::int64_t begin = (c - list.first[i]) * kChunk;
    const GradientView<T>& gradient = list.tensors[i];
    partial[c] = sum_of_squares(gradient.values + begin, std::min(kChunk, gradient.entries - begin));
  });
  double total = 0;
  for (const double sum : partial) total += sum;
  note_norm(static_cast<T>(std::sqrt(total)), p.status);
}

template <class T>
void adam_step(Launch launch, const AdamStepParams<T>& params) {
  if (!is_finite(params.status[kNorm]) || params.params.empty()) return;
  Chunks<AdamTensor<T>> list;
  for (std::size_t i = 0; i < params.params.size(); ++i) {
    list.add({params.params[i], params.grads[i], params.exp_avg[i], params.exp_avg_sq[i], params.half_copies[i],
              T(params.rates[i]), params.entries[i]},
             params.entries[i], kChunk);
  }
  const AdamRule<T> rule =
      adam_rule(adam_settings<T>(params.beta1, params.beta2, params.eps), params.status[kStep], *params.factor);
  parallel_chunks(launch.threads, list.total(), 1, [&](std::int64_t c, std::int64_t) {
    const int k = list.find(c);
    const AdamTensor<T>& tensor = list.tensors[k];
    const std::int64_t begin = (c - list.first[k]) * kChunk;
    const std::int64_t end = std::min(tensor.entries, begin + kChunk);
    T* __restrict p = tensor.param;
    const T* __restrict g = tensor.grad;
    T* __restrict m = tensor.exp_avg;
    T* __restrict v = tensor.exp_avg_sq;
    const T rate = tensor.rate * rule.factor;
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) adam_entry(rule, rate, g[i], p[i], m[i], v[i]);
    if (tensor.half_copy == nullptr) return;
    for (std::int64_t i = begin; i < end; ++i) tensor.half_copy[i] = to_half(static_cast<float>(p[i]));
  });
}

DFAST_ADAM(DFAST_INSTANTIATE)

}  // namespace dfast::cpu
