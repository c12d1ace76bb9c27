#include "ops/group_norm.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/parallel.h"

namespace dfast::cpu {

namespace {

constexpr int64_t kRows = 128;  // rows of a split

// The splits of a sample's rows. Number i counts the splits of all samples.
struct Splits {
  int64_t rows, count;
  explicit Splits(int64_t rows) : rows(rows), count((rows + kRows - 1) / kRows) {}
  int64_t begin(int64_t i) const { return i % count * kRows; }
  int64_t size(int64_t i) const { return std::min(rows - begin(i), kRows); }
};

// Calls body(i, state) for each split of each sample.
template <class Make, class Body>
void for_splits(const Launch& launch, int64_t batch, const Splits& splits, const Make& make, const Body& body) {
  parallel_chunks(launch.threads, batch * splits.count, 1, make,
                  [&](int64_t begin, int64_t, auto& state) { body(begin, state); });
}

// Computes each channel's moments in one split of rows, row after row, and from them those of its groups.
template <class S, class T>
void split_moments(const GroupNormParams<S>& p, int64_t b, const S* x, int64_t rows, std::vector<T>& space,
                   Moments<T>* out) {
  const int64_t channels = p.channels, of_group = channels / p.groups;
  T *first = space.data(), *sum = first + channels, *squares = sum + channels;
  for (int64_t c = 0; c < channels; ++c) {  // the median of three rows is near the mean
    const T a = widen<T>(x[c]), b = widen<T>(x[rows / 2 * channels + c]), d = widen<T>(x[(rows - 1) * channels + c]);
    first[c] = std::max(std::min(a, b), std::min(std::max(a, b), d));
    sum[c] = squares[c] = T(0);
  }
  for (int64_t n = 0; n < rows; ++n) {
    for (int64_t c = 0; c < channels; ++c) {
      const T d = widen<T>(x[n * channels + c]) - first[c];
      sum[c] += d;
      squares[c] += d * d;
    }
  }
  for (int64_t g = 0; g < p.groups; ++g) {
    T mean = 0, total = 0;
    for (int64_t c = g * of_group; c < (g + 1) * of_group; ++c) {
      const Moments<T> m = shifted_moments(first[c], sum[c], squares[c], T(rows));
      first[c] = m.mean + channel_add(p, b, c);
      squares[c] = m.sum;
      mean += (first[c] - first[g * of_group]) / of_group;
    }
    mean += first[g * of_group];
    for (int64_t c = g * of_group; c < (g + 1) * of_group; ++c) {
      total += squares[c] + rows * (first[c] - mean) * (first[c] - mean);
    }
    out[g] = {mean, total};
  }
}

}  // namespace

template <class S>
void group_norm(Launch launch, const GroupNormForwardParams<S>& params) {
  using T = typename Arithmetic<S>::type;
  const GroupNormParams<S>& p = params.norm;
  const int64_t batch = p.batch, rows = p.rows, channels = p.channels, groups = p.groups;
  const S* x = p.x;
  S* y = params.y;
  T* stats = params.stats;
  if (batch * rows * channels == 0) return;
  const Splits splits(rows);
  const T of_group = T(channels / groups);
  std::vector<Moments<T>> parts(batch * splits.count * groups);
  const auto space = [&] { return std::vector<T>(3 * channels); };
  for_splits(launch, batch, splits, space, [&](int64_t i, std::vector<T>& state) {
    const int64_t b = i / splits.count;
    split_moments(p, b, x + (b * rows + splits.begin(i)) * channels, splits.size(i), state, &parts[i * groups]);
  });
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t g = 0; g < groups; ++g) {
      const auto part = [&](int64_t i) { return parts[(b * splits.count + i) * groups + g]; };
      T off = 0, sum = 0;
      for (int64_t i = 0; i < splits.count; ++i) off += splits.size(i) * (part(i).mean - part(0).mean);
      const T mean = part(0).mean + off / rows;
      for (int64_t i = 0; i < splits.count; ++i) {
        const T d = part(i).mean - mean;
        sum += part(i).sum + splits.size(i) * of_group * d * d;
      }
      T* s = stats + 2 * (b * groups + g);
      s[0] = mean;
      s[1] = T(1) / std::sqrt(sum / (rows * of_group) + p.eps);
    }
  }
  for_splits(launch, batch, splits, space, [&](int64_t i, std::vector<T>& state) {
    const int64_t b = i / splits.count, base = (b * rows + splits.begin(i)) * channels;
    T *shift = state.data(), *factor = shift + channels, *offset = factor + channels;
    for (int64_t c = 0; c < channels; ++c) {
      const Channel<T> k = channel_of(p, stats, b, c);
      shift[c] = k.shift;
      factor[c] = k.rstd * k.gain;
      offset[c] = k.offset;
    }
    with_activation(p.activation, [&](auto kind) {
      for (int64_t n = 0; n < splits.size(i); ++n) {
        const S* from = x + base + n * channels;
        S* to = y + base + n * channels;
        for (int64_t c = 0; c < channels; ++c) {
          to[c] = narrow<S>(activate(kind(), (widen<T>(from[c]) + shift[c]) * factor[c] + offset[c]));
        }
      }
    });
  });
}

template <class S>
void group_norm_backward(Launch launch, const GroupNormBackwardParams<S>& params) {
  using T = typename Arithmetic<S>::type;
  const GroupNormParams<S>& p = params.norm;
  const int64_t batch = p.batch, rows = p.rows, channels = p.channels, groups = p.groups;
  const S *x = p.x, *dy = params.dy;
  S* dx = params.dx;
  const S* other = params.other;
  const T* stats = params.stats;
  if (batch * rows * channels == 0) return;
  const Splits splits(rows);
  const int64_t of_group = channels / groups;
  std::vector<T> parts(batch * splits.count * groups * 2), means(batch * groups * 2);
  const auto none = [] { return 0; };
  // Calls see(at, rstd, dn, n) for every number of group g in split i.
  const auto visit = [&](int64_t i, int64_t g, const auto& see) {
    const int64_t b = i / splits.count, base = (b * rows + splits.begin(i)) * channels;
    for (int64_t c = g * of_group; c < (g + 1) * of_group; ++c) {
      const Channel<T> channel = channel_of(p, stats, b, c);
      for (int64_t n = 0; n < splits.size(i); ++n) {
        const int64_t at = base + n * channels + c;
        T normalized;
        const T dn = normalized_gradient(channel, p.activation, widen<T>(x[at]), widen<T>(dy[at]), normalized);
        see(at, channel.rstd, dn, normalized);
      }
    }
  };
  for_splits(launch, batch, splits, none, [&](int64_t i, int) {
    for (int64_t g = 0; g < groups; ++g) {
      T sum = 0, product = 0;
      visit(i, g, [&](int64_t, T, T dn, T n) { sum += dn, product += dn * n; });
      parts[2 * (i * groups + g)] = sum;
      parts[2 * (i * groups + g) + 1] = product;
    }
  });
  for (int64_t i = 0; i < batch * splits.count; ++i) {
    for (int64_t k = 0; k < 2 * groups; ++k) {
      means[i / splits.count * 2 * groups + k] += parts[2 * i * groups + k] / (T(rows) * of_group);
    }
  }
  for_splits(launch, batch, splits, none, [&](int64_t i, int) {
    for (int64_t g = 0; g < groups; ++g) {
      const T* mean = &means[2 * (i / splits.count * groups + g)];
      visit(i, g, [&](int64_t at, T rstd, T dn, T n) {
        dx[at] = narrow<S>(rstd * (dn - mean[0] - n * mean[1]) + (other ? widen<T>(other[at]) : T(0)));
      });
    }
  });
}

DFAST_GROUP_NORM(DFAST_INSTANTIATE)
DFAST_GROUP_NORM_BACKWARD(DFAST_INSTANTIATE)

}  // namespace dfast::cpu
