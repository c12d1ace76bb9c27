#include "ops/attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/parallel.h"

namespace dfast::cpu {

constexpr int64_t kRows = 16;  // rows of a chunk

template <class S>
void attention(Launch launch, const AttentionParams<S>& p) {
  using T = typename Arithmetic<S>::type;
  const int64_t size = p.size, channels = p.heads * size;
  const T scale = T(1) / std::sqrt(T(size));
  const auto make = [&] { return std::vector<T>(p.keys + size); };
  parallel_chunks(launch.threads, p.batch * p.heads * p.rows, kRows, make,
                  [&](int64_t begin, int64_t end, std::vector<T>& space) {
                    T *weight = space.data(), *sum = weight + p.keys;
                    for (int64_t n = begin; n < end; ++n) {
                      const int64_t b = n / (p.heads * p.rows), h = n / p.rows % p.heads, i = n % p.rows;
                      const S* q = p.queries().row(b, i) + h * size;
                      T most = 0, total = 0;
                      for (int64_t j = 0; j < p.keys; ++j) {
                        const S* k = p.all_keys().row(b, j) + h * size;
                        T score = 0;
                        for (int64_t c = 0; c < size; ++c) score += widen<T>(q[c]) * widen<T>(k[c]);
                        weight[j] = score * scale;
                        most = j == 0 ? weight[j] : std::max(most, weight[j]);
                      }
                      std::fill(sum, sum + size, T(0));
                      for (int64_t j = 0; j < p.keys; ++j) {
                        const T w = std::exp(weight[j] - most);
                        const S* v = p.values().row(b, j) + h * size;
                        total += w;
                        for (int64_t c = 0; c < size; ++c) sum[c] += w * widen<T>(v[c]);
                      }
                      S* y = p.y + (b * p.rows + i) * channels + h * size;
                      for (int64_t c = 0; c < size; ++c) y[c] = narrow<S>(sum[c] / total);
                    }
                  });
}

DFAST_ATTENTION(DFAST_INSTANTIATE)

}  // namespace dfast::cpu
