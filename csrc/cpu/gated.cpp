#include "ops/gated.h"

#include "cpu/parallel.h"

namespace dfast::cpu {

constexpr int64_t kNumbers = 16384;  // numbers of a chunk, approximately

template <class S>
void geglu(Launch launch, const GegluParams<S>& p) {
  const int64_t channels = p.channels;
  const S* x = p.x;
  S* y = p.y;
  if (channels == 0) return;
  parallel_chunks(launch.threads, p.rows, kNumbers / channels + 1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const S* row = x + 2 * n * channels;
      for (int64_t c = 0; c < channels; ++c) y[n * channels + c] = gated(row[c], row[channels + c]);
    }
  });
}

template <class S>
void merge(Launch launch, const MergeParams<S>& p) {
  const int64_t channels = p.channels;
  const S *a = p.a, *b = p.b, *bias = p.bias;
  S* y = p.y;
  if (channels == 0) return;
  const auto factor = static_cast<typename Arithmetic<S>::type>(p.factor);
  parallel_chunks(launch.threads, p.rows, kNumbers / channels + 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * channels; i < end * channels; i += channels) {
      for (int64_t c = 0; c < channels; ++c) y[i + c] = merged(a[i + c], b[i + c], bias[c], factor);
    }
  });
}

DFAST_GATED(DFAST_INSTANTIATE)

}  // namespace dfast::cpu
