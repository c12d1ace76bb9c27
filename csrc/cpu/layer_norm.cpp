#include "ops/layer_norm.h"

#include <cmath>
#include <vector>

#include "cpu/parallel.h"

namespace dfast::cpu {

constexpr int64_t kNumbers = 16384;  // numbers of a chunk, approximately

template <class S>
void layer_norm(Launch launch, const LayerNormParams<S>& p) {
  using T = typename Arithmetic<S>::type;
  const int64_t channels = p.channels;
  if (channels == 0) return;
  const auto make = [&] { return std::vector<T>(channels); };
  parallel_chunks(launch.threads, p.rows, kNumbers / channels + 1, make,
                  [&](int64_t begin, int64_t end, std::vector<T>& row) {
                    for (int64_t at = begin * channels; at < end * channels; at += channels) {
                      T mean = 0, variance = 0;
                      for (int64_t c = 0; c < channels; ++c) {
                        row[c] = widen<T>(p.x[at + c]) + (p.add ? widen<T>(p.add[at + c]) : T(0));
                        if (p.sum) p.sum[at + c] = narrow<S>(row[c]);
                        mean += row[c] - row[0];  // small where the mean is far from zero
                      }
                      mean = row[0] + mean / channels;
                      for (int64_t c = 0; c < channels; ++c) variance += (row[c] - mean) * (row[c] - mean);
                      const T rstd = T(1) / std::sqrt(variance / channels + p.eps);
                      for (int64_t c = 0; c < channels; ++c) {
                        p.y[at + c] = layer_normalized(row[c], mean, rstd, p.weight[c], p.bias[c]);
                      }
                    }
                  });
}

DFAST_LAYER_NORM(DFAST_INSTANTIATE)

}  // namespace dfast::cpu
