#include "ops/normal_variation.h"

#include "cpu/parallel.h"

namespace dfast::cpu {

constexpr int64_t kRows = 16;  // rows of a chunk

template <class T>
void normal_variation(Launch launch, const NormalVariationParams<T>& p) {
  parallel_chunks(launch.threads, p.views * p.height, kRows, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      T cost = 0;
      for (int64_t i = row * p.width; i < (row + 1) * p.width; ++i) cost += variation_at(p, i);
      p.cost[row] = cost;
    }
  });
}

DFAST_NORMAL_VARIATION(DFAST_INSTANTIATE)

}  // namespace dfast::cpu
