#include "ops/adam.h"

#include <algorithm>

#include "cpu/parallel.h"

namespace dfast::cpu {

namespace {

constexpr std::int64_t kChunk = 16384;  // entries: some ten microseconds
constexpr std::int64_t kRun = 256;      // entries summed before double takes over

template <class T>
struct Piece {
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
void gradient_norm(Launch launch, std::vector<const T*> grads, std::vector<std::int64_t> entries, double*, T* status) {
  Chunks<Piece<T>> list;
  for (std::size_t i = 0; i < grads.size(); ++i) list.add({grads[i], entries[i]}, entries[i], kChunk);
  std::vector<double> partial(list.count ? list.total() : 0);
  parallel_chunks(launch.threads, static_cast<std::int64_t>(partial.size()), 1, [&](std::int64_t c, std::int64_t) {
    const int i = list.find(c);
    const std::int64_t begin = (c - list.first[i]) * kChunk;
    const Piece<T>& piece = list.tensors[i];
    partial[c] = sum_of_squares(piece.values + begin, std::min(kChunk, piece.entries - begin));
  });
  double total = 0;
  for (const double sum : partial) total += sum;
  note_norm(static_cast<T>(std::sqrt(total)), status);
}

template <class T>
void adam_step(Launch launch, std::vector<T*> params, std::vector<const T*> grads, std::vector<T*> exp_avg,
               std::vector<T*> exp_avg_sq, std::vector<Half*> storage, std::vector<double> rates,
               std::vector<std::int64_t> entries, double beta1, double beta2, double eps, const T* factor,
               const T* status) {
  if (!is_finite(status[kNorm]) || params.empty()) return;
  Chunks<AdamTensor<T>> list;
  for (std::size_t i = 0; i < params.size(); ++i) {
    list.add({params[i], grads[i], exp_avg[i], exp_avg_sq[i], storage[i], T(rates[i]), entries[i]}, entries[i], kChunk);
  }
  const AdamRule<T> rule = adam_rule(adam_settings<T>(beta1, beta2, eps), status[kStep], *factor);
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
    if (tensor.storage == nullptr) return;
    for (std::int64_t i = begin; i < end; ++i) tensor.storage[i] = to_half(static_cast<float>(p[i]));
  });
}

#define INSTANTIATE(T)                                                                                                \
  template void gradient_norm(Launch, std::vector<const T*>, std::vector<std::int64_t>, double*, T*);                 \
  template void adam_step(Launch, std::vector<T*>, std::vector<const T*>, std::vector<T*>, std::vector<T*>,           \
                          std::vector<Half*>, std::vector<double>, std::vector<std::int64_t>, double, double, double, \
                          const T*, const T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace dfast::cpu
