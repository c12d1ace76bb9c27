#include "ops/group_norm.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/parallel.h"

namespace dfast::cpu {

namespace {

constexpr int64_t kRows = 128;  // of a piece

// Pieces of a sample's rows, and which of them number i of all samples is.
struct Pieces {
  int64_t rows, count;
  explicit Pieces(int64_t rows) : rows(rows), count((rows + kRows - 1) / kRows) {}
  int64_t begin(int64_t i) const { return i % count * kRows; }
  int64_t size(int64_t i) const { return std::min(rows - begin(i), kRows); }
};

// body(i, state) for each piece of each sample.
template <class Make, class Body>
void each_piece(const Launch& launch, int64_t batch, const Pieces& pieces, const Make& make, const Body& body) {
  parallel_chunks(launch.threads, batch * pieces.count, 1, make,
                  [&](int64_t begin, int64_t, auto& state) { body(begin, state); });
}

// Each channel's moments in one piece of rows, row after row, then its groups'.
template <class S, class T>
void piece_moments(const GroupNormParams<S>& p, int64_t b, const S* x, int64_t rows, std::vector<T>& space,
                   Moments<T>* out) {
  const int64_t channels = p.channels, of_group = channels / p.groups;
  T *first = space.data(), *sum = first + channels, *squares = sum + channels;
  for (int64_t c = 0; c < channels; ++c) {  // the middle one of three
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
void group_norm(Launch launch, const S* x, const S* weight, const S* bias, const S* add, const S* scale_shift,
                int64_t batch, int64_t rows, int64_t channels, int64_t groups, int64_t add_pitch, double eps,
                int activation, S* y, typename Arithmetic<S>::type* stats, typename Arithmetic<S>::type*) {
  using T = typename Arithmetic<S>::type;
  const GroupNormParams<S> p{x,    weight,   bias,   add,       scale_shift, batch,
                             rows, channels, groups, add_pitch, T(eps),      static_cast<Nonlinearity>(activation)};
  if (batch * rows * channels == 0) return;
  const Pieces pieces(rows);
  const T of_group = T(channels / groups);
  std::vector<Moments<T>> parts(batch * pieces.count * groups);
  const auto space = [&] { return std::vector<T>(3 * channels); };
  each_piece(launch, batch, pieces, space, [&](int64_t i, std::vector<T>& state) {
    const int64_t b = i / pieces.count;
    piece_moments(p, b, x + (b * rows + pieces.begin(i)) * channels, pieces.size(i), state, &parts[i * groups]);
  });
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t g = 0; g < groups; ++g) {
      const auto part = [&](int64_t i) { return parts[(b * pieces.count + i) * groups + g]; };
      T off = 0, sum = 0;
      for (int64_t i = 0; i < pieces.count; ++i) off += pieces.size(i) * (part(i).mean - part(0).mean);
      const T mean = part(0).mean + off / rows;
      for (int64_t i = 0; i < pieces.count; ++i) {
        const T d = part(i).mean - mean;
        sum += part(i).sum + pieces.size(i) * of_group * d * d;
      }
      T* s = stats + 2 * (b * groups + g);
      s[0] = mean;
      s[1] = T(1) / std::sqrt(sum / (rows * of_group) + p.eps);
    }
  }
  each_piece(launch, batch, pieces, space, [&](int64_t i, std::vector<T>& state) {
    const int64_t b = i / pieces.count, base = (b * rows + pieces.begin(i)) * channels;
    T *shift = state.data(), *factor = shift + channels, *offset = factor + channels;
    for (int64_t c = 0; c < channels; ++c) {
      const Channel<T> k = channel_of(p, stats, b, c);
      shift[c] = k.shift;
      factor[c] = k.rstd * k.gain;
      offset[c] = k.offset;
    }
    with_activation(p.activation, [&](auto kind) {
      for (int64_t n = 0; n < pieces.size(i); ++n) {
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
void group_norm_backward(Launch launch, const S* x, const S* weight, const S* bias, const S* add, const S* scale_shift,
                         const typename Arithmetic<S>::type* stats, const S* dy, int64_t batch, int64_t rows,
                         int64_t channels, int64_t groups, int64_t add_pitch, int activation, S* dx,
                         typename Arithmetic<S>::type*) {
  using T = typename Arithmetic<S>::type;
  const GroupNormParams<S> p{x,    weight,   bias,   add,       scale_shift, batch,
                             rows, channels, groups, add_pitch, T(0),        static_cast<Nonlinearity>(activation)};
  if (batch * rows * channels == 0) return;
  const Pieces pieces(rows);
  const int64_t of_group = channels / groups;
  std::vector<T> parts(batch * pieces.count * groups * 2), means(batch * groups * 2);
  const auto none = [] { return 0; };
  // see(at, rstd, dn, n) for every number of group g in piece i
  const auto visit = [&](int64_t i, int64_t g, const auto& see) {
    const int64_t b = i / pieces.count, base = (b * rows + pieces.begin(i)) * channels;
    for (int64_t c = g * of_group; c < (g + 1) * of_group; ++c) {
      const Channel<T> channel = channel_of(p, stats, b, c);
      for (int64_t n = 0; n < pieces.size(i); ++n) {
        const int64_t at = base + n * channels + c;
        T normalized;
        const T dn = normalized_gradient(channel, p.activation, widen<T>(x[at]), widen<T>(dy[at]), normalized);
        see(at, channel.rstd, dn, normalized);
      }
    }
  };
  each_piece(launch, batch, pieces, none, [&](int64_t i, int) {
    for (int64_t g = 0; g < groups; ++g) {
      T sum = 0, product = 0;
      visit(i, g, [&](int64_t, T, T dn, T n) { sum += dn, product += dn * n; });
      parts[2 * (i * groups + g)] = sum;
      parts[2 * (i * groups + g) + 1] = product;
    }
  });
  for (int64_t i = 0; i < batch * pieces.count; ++i) {
    for (int64_t k = 0; k < 2 * groups; ++k) {
      means[i / pieces.count * 2 * groups + k] += parts[2 * i * groups + k] / (T(rows) * of_group);
    }
  }
  each_piece(launch, batch, pieces, none, [&](int64_t i, int) {
    for (int64_t g = 0; g < groups; ++g) {
      const T* mean = &means[2 * (i / pieces.count * groups + g)];
      visit(i, g, [&](int64_t at, T rstd, T dn, T n) { dx[at] = narrow<S>(rstd * (dn - mean[0] - n * mean[1])); });
    }
  });
}

#define INSTANTIATE(S)                                                                                                 \
  template void group_norm(Launch, const S*, const S*, const S*, const S*, const S*, int64_t, int64_t, int64_t,        \
                           int64_t, int64_t, double, int, S*, Arithmetic<S>::type*, Arithmetic<S>::type*);             \
  template void group_norm_backward(Launch, const S*, const S*, const S*, const S*, const S*,                          \
                                    const Arithmetic<S>::type*, const S*, int64_t, int64_t, int64_t, int64_t, int64_t, \
                                    int, S*, Arithmetic<S>::type*);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(Half)
INSTANTIATE(Bfloat16)

}  // namespace dfast::cpu
