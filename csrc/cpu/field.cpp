// The fused field on the host. Blocks of kLanes samples go through the whole chain in cache: cells and the lerp tree
// lane-parallel (value and Jacobian from one reading of the table), then matrix products with one row a sample.
// Nothing but the field's own results is stored: backward computes the activations again.
//
// Results do not depend on the number of threads. Work is cut into chunks of kChunk samples; each chunk sums its own
// part of d_mlp, and the parts are added in order. What the table receives is written down for kBatch samples at a
// time and then scattered, a task owning a level (or a range of its rows) and adding in sample order.
#include "ops/field.h"

#include <vector>

#include "cpu/hash_lanes.h"
#include "cpu/matmul.h"
#include "cpu/parallel.h"

namespace dfast::cpu {
namespace {

constexpr std::int64_t kChunk = 1024;         // samples; a multiple of kLanes
constexpr std::int64_t kBatch = 64 * kChunk;  // bounds the memory of backward
constexpr int kMaxLayers = kMaxHiddenLayers + 1;

// W [out, in] x [in] as both products need it, and the bias.
template <typename T>
struct Layer {
  int in, out, weight, bias;  // as in field_layer
  int in_pitch, out_pitch;
  const T* down;         // [in, out_pitch], W^T
  const T* up;           // [out, in_pitch], W
  const T* shift;        // [out_pitch]
  int d_weight, d_bias;  // where a chunk's sums start: [out, in_pitch] and [out_pitch]
};

// The weights laid out for whole vectors; padding is zero.
template <typename T>
struct Packed {
  int count;  // layers, the output's included
  Layer<T> layer[kMaxLayers];
  int sums = 0;  // numbers in a chunk's part of d_mlp
  Buffer<T> memory;

  Packed(const FieldNet& net, const T* mlp) : count(net.layers + 1) {
    std::size_t size = 0;
    for (int k = 0; k < count; ++k) {
      const FieldLayer at = field_layer(net.grid.levels * net.grid.features, net.width, net.layers, k);
      Layer<T>& l = layer[k];
      l.in = at.in, l.out = at.out, l.weight = at.weight, l.bias = at.bias;
      l.in_pitch = pitch<T>(l.in), l.out_pitch = pitch<T>(l.out);
      l.d_weight = sums, l.d_bias = sums + l.out * l.in_pitch;
      sums = l.d_bias + l.out_pitch;
      size += l.in * l.out_pitch + l.out * l.in_pitch + l.out_pitch;
    }
    memory = Buffer<T>(size);
    T* to = memory.get();
    for (int k = 0; k < count; ++k) {
      Layer<T>& l = layer[k];
      T *down = to, *up = down + l.in * l.out_pitch, *shift = up + l.out * l.in_pitch;
      to = shift + l.out_pitch;
      for (int o = 0; o < l.out; ++o) {
        for (int i = 0; i < l.in; ++i) {
          down[i * l.out_pitch + o] = up[o * l.in_pitch + i] = mlp[l.weight + o * l.in + i];
        }
        shift[o] = mlp[l.bias + o];
      }
      l.down = down, l.up = up, l.shift = shift;
    }
  }
};

// Arguments that both directions share.
template <typename T>
struct Problem {
  const FieldNet& net;
  const Packed<T> weights;
  const T* table;
  const Half* storage;
  const T* level_weights;

  Problem(const FieldNet& field, const T* rows, const Half* half, const T* levels, const T* mlp)
      : net(field), weights(field, mlp), table(rows), storage(half), level_weights(levels) {}
};

// World [-1, 1] to the grid's [0, 1]; a NaN stays.
template <typename T>
T unit(T x) {
  const T at = (x + T(1)) * T(0.5);
  return at < T(0) ? T(0) : at > T(1) ? T(1) : at;
}

// Everything about kLanes samples. Rows are samples, h[k] and the like [kLanes, pitch of layer k's input].
template <typename T>
class Block {
 public:
  Lanes<T> lanes;
  T *h[kMaxLayers], *hdot[kMaxLayers], *a[kMaxLayers], *d[kMaxLayers];
  T* out;          // [kLanes, out_pitch] the MLP's outputs, then dL/d outputs
  T* jacobian[3];  // [kLanes, pitch of the encoding] de/dx, per unit of world x

  Block(const Block&) = delete;
  Block(const Problem<T>& problem, bool gradient, bool backward) : p_(problem), w_(problem.weights) {
    std::size_t size = 0;
    const auto plan = [&](T*& at, int columns, bool wanted) {
      parts_.push_back({&at, wanted ? size : none});
      if (wanted) size += static_cast<std::size_t>(kLanes) * columns;
    };
    for (int k = 0; k < w_.count; ++k) {
      const int columns = w_.layer[k].in_pitch;
      plan(h[k], columns, true), plan(hdot[k], columns, gradient && backward);
      plan(a[k], columns, gradient), plan(d[k], columns, backward);
    }
    plan(out, last().out_pitch, true);
    for (T*& j : jacobian) plan(j, w_.layer[0].in_pitch, gradient);
    plan(corners_, 8 * p_.net.grid.features, true), plan(lerped_, 4 * p_.net.grid.features, true);
    memory_ = Buffer<T>(size);
    for (const auto& [at, offset] : parts_) *at = offset == none ? nullptr : memory_.get() + offset;
  }

  // h[0] and, if wanted, the Jacobian of `count` points.
  void encode(const T* x, int count) {
    T inside[3 * kLanes];
    for (int i = 0; i < 3 * count; ++i) inside[i] = unit(x[i]);
    Lanes<T>::load(inside, count, lanes.x);
    with_features(p_.net.grid.features, [&](auto features) { encode_as<features>(count); });
  }

  // h and out from h[0].
  void forward(int count) {
    for (int k = 0; k < w_.count; ++k) {
      const Layer<T>& l = w_.layer[k];
      T* to = k + 1 < w_.count ? h[k + 1] : out;
      multiply(count, padded<T>(l.out), l.in, rows(h[k], l.in_pitch), l.down, l.out_pitch, l.shift, 0, to, l.out_pitch);
      if (k + 1 == w_.count) break;
      for (int i = 0; i < count * l.out_pitch; ++i) to[i] = T(0) > to[i] ? T(0) : to[i];  // keeps NaN
    }
  }

  // a[k] = d out_0 / d h[k] before the mask of h[k]'s own layer is crossed, down to a[0] = d out_0 / de.
  void adjoint(int count) {
    const int top = w_.count - 1;
    for (int i = 0; i < count; ++i) std::copy_n(last().up, last().in_pitch, a[top] + i * last().in_pitch);
    for (int k = top; k > 0; --k) {
      mask(a[k], h[k], count * w_.layer[k].in_pitch);
      pull(k - 1, a[k], a[k - 1], count);
    }
  }

  // g = J^T a_0 + grad blob.
  void gradient(const T* x, int i, T* g) const {
    const Layer<T>& l = w_.layer[0];
    T blob[3];
    blob_of(p_.net.head, x, blob);
    const T* at = a[0] + i * l.in_pitch;
    for (int c = 0; c < 3; ++c) {
      const T* j = jacobian[c] + i * l.in_pitch;
      T sum = T(0);
#pragma omp simd reduction(+ : sum)
      for (int k = 0; k < l.in; ++k) sum += at[k] * j[k];
      g[c] = sum + blob[c];
    }
  }

  // d[k] from out = dL/d outputs.
  void backward(int count) {
    for (int k = w_.count - 1; k >= 0; --k) {
      pull(k, k + 1 < w_.count ? d[k + 1] : out, d[k], count);
      if (k > 0) mask(d[k], h[k], count * w_.layer[k].in_pitch);
    }
  }

  // hdot[k] from u [count, 3] = dL/dg: hdot_0 = J u.
  void tangent(const T* u, int count) {
    const int first = w_.layer[0].in_pitch;
    for (int i = 0; i < count; ++i) {
      const T *jx = jacobian[0] + i * first, *jy = jacobian[1] + i * first, *jz = jacobian[2] + i * first;
      T* to = hdot[0] + i * first;
      for (int k = 0; k < first; ++k) to[k] = u[3 * i] * jx[k] + u[3 * i + 1] * jy[k] + u[3 * i + 2] * jz[k];
    }
    for (int k = 0; k + 1 < w_.count; ++k) {
      const Layer<T>& l = w_.layer[k];
      multiply<T>(count, padded<T>(l.out), l.in, rows(hdot[k], l.in_pitch), l.down, l.out_pitch, nullptr, 0,
                  hdot[k + 1], l.out_pitch);
      mask(hdot[k + 1], h[k + 1], count * l.out_pitch);
    }
  }

  // Adds dW_k = d_k h_{k-1}^T + a_k hdot_{k-1}^T and db_k = d_k to a chunk's sums.
  void weight_gradients(int count, bool second, T* sums) const {
    for (int k = 0; k < w_.count; ++k) {
      const Layer<T>& l = w_.layer[k];
      const bool top = k + 1 == w_.count;
      const T* up = top ? out : d[k + 1];
      T *dw = sums + l.d_weight, *db = sums + l.d_bias;
      add_outer(l, count, up, h[k], dw);
      for (int i = 0; i < count; ++i) {
        for (int o = 0; o < l.out; ++o) db[o] += up[i * l.out_pitch + o];
      }
      if (!second) continue;
      if (!top) {
        add_outer(l, count, a[k + 1], hdot[k], dw);
      } else {  // a_{H+1} = e_0
        for (int i = 0; i < count; ++i) {
          for (int j = 0; j < l.in; ++j) dw[j] += hdot[k][i * l.in_pitch + j];
        }
      }
    }
  }

 private:
  static constexpr std::size_t none = ~std::size_t(0);

  const Layer<T>& last() const { return w_.layer[w_.count - 1]; }

  static Strided<T> rows(const T* p, int row) { return {p, row, 1}; }

  static void mask(T* values, const T* hidden, int n) {
    for (int i = 0; i < n; ++i) values[i] = hidden[i] <= T(0) ? T(0) : values[i];
  }

  // to = from W_k.
  void pull(int k, const T* from, T* to, int count) const {
    const Layer<T>& l = w_.layer[k];
    multiply<T>(count, padded<T>(l.in), l.out, rows(from, l.out_pitch), l.up, l.in_pitch, nullptr, 0, to, l.in_pitch);
  }

  static void add_outer(const Layer<T>& l, int count, const T* up, const T* below, T* sums) {
    multiply<T>(l.out, padded<T>(l.in), count, {up, 1, l.out_pitch}, below, l.in_pitch, sums, l.in_pitch, sums,
                l.in_pitch);
  }

  template <int F>
  void encode_as(int count) {
    const int columns = w_.layer[0].in_pitch, parts = jacobian[0] ? 4 : 1;
    T* const to[4] = {h[0], jacobian[0], jacobian[1], jacobian[2]};
    for (int l = 0; l < p_.net.grid.levels; ++l) {
      const T lw = level_weight(p_.level_weights, l);
      if (lw == T(0)) continue;  // its columns stay zero
      lanes.locate(p_.net.grid.level[l], p_.net.grid.smooth);
      with_rows<F>(p_.table, p_.storage, p_.net.grid.level[l].offset, [&](const auto* rows) {
        prefetch_rows<false>(rows, p_.net.grid.level[l], lanes.row, count);
        for (int c = 0; c < 8; ++c) {
          T* corner = corners_ + c * F * kLanes;
          for (int i = 0; i < count; ++i) {
            const auto row = rows[lanes.row[c][i]];
            for (int f = 0; f < F; ++f) corner[F * i + f] = widen<T>(row.v[f]);
          }
        }
      });
      parts == 4 ? lerp<F, true>(lw) : lerp<F, false>(lw);
      for (int part = 0; part < parts; ++part) {
        const T* from = lerped_ + part * F * kLanes;
        T* column = to[part] + l * F;
        for (int i = 0; i < count; ++i) {
          for (int f = 0; f < F; ++f) column[i * columns + f] = from[F * i + f];
        }
      }
    }
  }

  // One lerp tree: the value, and its three slopes from the differences met on the way.
  template <int F, bool Slopes>
  void lerp(T lw) {
    const T* s = corners_;
    T *value = lerped_, *sx = value + F * kLanes, *sy = sx + F * kLanes, *sz = sy + F * kLanes;
    constexpr int C = F * kLanes;
    const T half = T(0.5) * lw;  // d unit / dx = 1/2
#pragma GCC ivdep
    for (int i = 0; i < kLanes; ++i) {
      const T x = lanes.w[0][i], y = lanes.w[1][i], z = lanes.w[2][i];
#pragma GCC unroll 8
      for (int f = 0; f < F; ++f) {
        const int at = F * i + f;
        const T d00 = s[at + C] - s[at], d10 = s[at + 3 * C] - s[at + 2 * C];
        const T d01 = s[at + 5 * C] - s[at + 4 * C], d11 = s[at + 7 * C] - s[at + 6 * C];
        const T p00 = s[at] + x * d00, p10 = s[at + 2 * C] + x * d10;
        const T p01 = s[at + 4 * C] + x * d01, p11 = s[at + 6 * C] + x * d11;
        const T d0 = p10 - p00, d1 = p11 - p01;
        const T q0 = p00 + y * d0, q1 = p01 + y * d1;
        value[at] = lw * (q0 + z * (q1 - q0));
        if (Slopes) {
          const T e0 = d00 + y * (d10 - d00), e1 = d01 + y * (d11 - d01);
          sx[at] = half * lanes.d[0][i] * (e0 + z * (e1 - e0));
          sy[at] = half * lanes.d[1][i] * (d0 + z * (d1 - d0));
          sz[at] = half * lanes.d[2][i] * (q1 - q0);
        }
      }
    }
  }

  struct Part {
    T** at;
    std::size_t offset;
  };
  const Problem<T>& p_;
  const Packed<T>& w_;
  T *corners_, *lerped_;  // [8, kLanes, F] and [4, kLanes, F]
  std::vector<Part> parts_;
  Buffer<T> memory_;
};

std::int64_t bounded(std::int64_t n, const std::int64_t* count) { return count ? std::min(n, *count) : n; }

}  // namespace

template <typename T>
void field_forward(Launch launch, const FieldNet& net, std::int64_t n, const std::int64_t* count, const T* x,
                   const T* table, const Half* storage, const T* level_weights, const T* mlp, T* tau, T* albedo,
                   T* gradient) {
  const Problem<T> problem(net, table, storage, level_weights, mlp);
  const int pitch = problem.weights.layer[net.layers].out_pitch;
  const auto make = [&] { return Block<T>(problem, gradient != nullptr, false); };
  parallel_chunks(launch.threads, bounded(n, count), kChunk, make, [&](auto begin, auto end, Block<T>& block) {
    for (std::int64_t first = begin; first < end; first += kLanes) {
      const int size = static_cast<int>(std::min<std::int64_t>(kLanes, end - first));
      block.encode(x + 3 * first, size);
      block.forward(size);
      if (gradient) block.adjoint(size);
      for (int i = 0; i < size; ++i) {
        const T *at = x + 3 * (first + i), *out = block.out + i * pitch;
        T slope;
        tau[first + i] = density_of(net.head, out[0] + T(net.head.bias) + blob_of<T>(net.head, at, nullptr), &slope);
        for (int c = 0; c < 3; ++c) albedo[3 * (first + i) + c] = sigmoid(out[1 + c]);
        if (gradient) block.gradient(at, i, gradient + 3 * (first + i));
      }
    }
  });
}

namespace {

// What backward leaves for the table, of those samples of a batch that received a gradient at all. Each chunk fills its
// own part from the start.
template <typename T>
struct Terms {
  std::int64_t size;
  Buffer<T> x, u;         // [size, 3] in the grid's units
  Buffer<T> d0, a0;       // [L, size, F]
  std::vector<int> used;  // samples of each chunk

  Terms(const HashGrid& grid, std::int64_t n, bool second)
      : size(n),
        x(3 * n),
        u(second ? 3 * n : 0),
        d0(n * grid.levels * grid.features),
        a0(second ? n * grid.levels * grid.features : 0),
        used((n + kChunk - 1) / kChunk) {}
};

// The gradients that reach up to kLanes samples.
template <typename T>
struct Incoming {
  int count = 0;
  T x[3 * kLanes], tau[kLanes], albedo[3 * kLanes], gradient[3 * kLanes];

  // Takes sample i over unless all its gradients are zero; a NaN is not.
  void take(std::int64_t i, const T* points, const T* d_tau, const T* d_albedo, const T* d_gradient) {
    T* to[3] = {x + 3 * count, albedo + 3 * count, gradient + 3 * count};
    tau[count] = d_tau ? d_tau[i] : T(0);
    bool any = tau[count] != T(0);
    for (int c = 0; c < 3; ++c) {
      to[0][c] = points[3 * i + c];
      to[1][c] = d_albedo ? d_albedo[3 * i + c] : T(0);
      to[2][c] = d_gradient ? d_gradient[3 * i + c] : T(0);
      any |= to[1][c] != T(0) || to[2][c] != T(0);
    }
    count += any;
  }
};

template <typename T>
struct Worker {
  Block<T> block;
  Incoming<T> in;
  Worker(const Problem<T>& problem, bool second) : block(problem, second, true) {}
};

// The whole of backward for in.count samples, down to `terms` from sample `first` on and the chunk's sums.
template <typename T>
void run_backward(const Problem<T>& p, Worker<T>& worker, bool second, Terms<T>& terms, std::int64_t first, T* sums) {
  Block<T>& block = worker.block;
  const Incoming<T>& in = worker.in;
  const DensityHead& head = p.net.head;
  const int n = in.count, outputs = p.weights.layer[p.net.layers].out_pitch, inputs = p.weights.layer[0].in_pitch;
  block.encode(in.x, n);
  block.forward(n);
  for (int i = 0; i < n; ++i) {
    T* out = block.out + i * outputs;
    T slope;
    density_of(head, out[0] + T(head.bias) + blob_of<T>(head, in.x + 3 * i, nullptr), &slope);
    out[0] = in.tau[i] * slope;
    for (int c = 0; c < 3; ++c) {
      const T rho = sigmoid(out[1 + c]);
      out[1 + c] = in.albedo[3 * i + c] * rho * (T(1) - rho);
    }
  }
  block.backward(n);
  if (second) block.adjoint(n), block.tangent(in.gradient, n);
  block.weight_gradients(n, second, sums);
  for (int i = 0; i < 3 * n; ++i) {
    terms.x[3 * first + i] = unit(in.x[i]);
    if (second) terms.u[3 * first + i] = T(0.5) * in.gradient[i];  // d unit / dx = 1/2
  }
  with_features(p.net.grid.features, [&](auto features) {
    constexpr int F = features;
    for (int l = 0; l < p.net.grid.levels; ++l) {
      const std::int64_t at = (l * terms.size + first) * F;
      for (int i = 0; i < n; ++i) {
        for (int f = 0; f < F; ++f) terms.d0[at + F * i + f] = block.d[0][i * inputs + l * F + f];
      }
      for (int i = 0; second && i < n; ++i) {
        for (int f = 0; f < F; ++f) terms.a0[at + F * i + f] = block.a[0][i * inputs + l * F + f];
      }
    }
  });
}

// Adds the terms of level l to those of its rows that lie in part `part` of `parts`.
template <int F, typename T>
void scatter_level(const Problem<T>& p, const Terms<T>& terms, bool second, int l, int part, int parts, T* d_table) {
  const HashLevel& level = p.net.grid.level[l];
  const T lw = level_weight(p.level_weights, l);
  if (lw == T(0)) return;
  auto* rows = reinterpret_cast<HashRow<T, F>*>(d_table) + level.offset;
  const std::uint64_t total = level_rows(level);
  const std::uint32_t low = static_cast<std::uint32_t>(total * part / parts);
  const std::uint32_t high = static_cast<std::uint32_t>(total * (part + 1) / parts);
  Lanes<T> lanes;
  alignas(64) T sums[8][F * kLanes];
  for (std::size_t chunk = 0; chunk < terms.used.size(); ++chunk) {
    for (int begin = 0; begin < terms.used[chunk]; begin += kLanes) {
      const int count = std::min(kLanes, terms.used[chunk] - begin);
      const std::int64_t first = chunk * kChunk + begin;
      const T* d0 = terms.d0.get() + (l * terms.size + first) * F;
      const T* a0 = second ? terms.a0.get() + (l * terms.size + first) * F : nullptr;
      Lanes<T>::load(terms.x.get() + 3 * first, count, lanes.x);
      lanes.locate(level, p.net.grid.smooth);
      prefetch_rows<true>(rows, level, lanes.row, count);
      lanes.weigh(lw);
      if (second) {
        Lanes<T>::load(terms.u.get() + 3 * first, count, lanes.u);
        lanes.tilt(lw);
      }
      for (int c = 0; c < 8; ++c) {
        for (int i = 0; i < count; ++i) {
          for (int f = 0; f < F; ++f) {
            sums[c][F * i + f] = lanes.corner[c][i] * d0[F * i + f] + (a0 ? lanes.slope[c][i] * a0[F * i + f] : T(0));
          }
        }
      }
      for (int i = 0; i < count; ++i) {
        for (int c = 0; c < 8; ++c) {
          const std::uint32_t row = lanes.row[c][i];
          if (parts > 1 && (row < low || row >= high)) continue;
          for (int f = 0; f < F; ++f) rows[row].v[f] += sums[c][F * i + f];
        }
      }
    }
  }
}

// d_mlp += a chunk's sums.
template <typename T>
void add_sums(const Packed<T>& weights, const T* sums, T* d_mlp) {
  for (int k = 0; k < weights.count; ++k) {
    const Layer<T>& l = weights.layer[k];
    for (int o = 0; o < l.out; ++o) {
      for (int i = 0; i < l.in; ++i) d_mlp[l.weight + o * l.in + i] += sums[l.d_weight + o * l.in_pitch + i];
      d_mlp[l.bias + o] += sums[l.d_bias + o];
    }
  }
}

}  // namespace

template <typename T>
void field_backward(Launch launch, const FieldNet& net, std::int64_t n, const std::int64_t* count, const T* x,
                    const T* table, const Half* storage, const T* level_weights, const T* mlp, const T* d_tau,
                    const T* d_albedo, const T* d_gradient, std::int64_t, T* d_table, T* d_mlp) {
  n = bounded(n, count);
  if (n <= 0) return;
  const bool second = d_gradient != nullptr;
  const Problem<T> problem(net, table, storage, level_weights, mlp);
  const std::int64_t batch = std::min(n, kBatch), sums_of = problem.weights.sums;
  Terms<T> terms(net.grid, batch, second);
  const Buffer<T> sums(terms.used.size() * sums_of);
  const auto make = [&] { return Worker<T>(problem, second); };
  for (std::int64_t start = 0; start < n; start += batch) {
    const std::int64_t size = std::min(batch, n - start);
    std::fill(terms.used.begin(), terms.used.end(), 0);
    parallel_chunks(launch.threads, size, kChunk, make, [&](auto begin, auto end, Worker<T>& worker) {
      int& used = terms.used[begin / kChunk];
      T* own = sums.get() + begin / kChunk * sums_of;
      std::fill_n(own, sums_of, T(0));
      for (std::int64_t i = begin; i < end; ++i) {
        worker.in.take(start + i, x, d_tau, d_albedo, d_gradient);
        if (worker.in.count < kLanes && i + 1 < end) continue;
        if (worker.in.count > 0) run_backward(problem, worker, second, terms, begin + used, own);
        used += worker.in.count, worker.in.count = 0;
      }
    });
    for (std::int64_t chunk = 0; chunk * kChunk < size; ++chunk) {
      add_sums(problem.weights, sums.get() + chunk * sums_of, d_mlp);
    }
    const int parts = std::max(1, launch.threads / net.grid.levels);
    parallel_chunks(launch.threads, net.grid.levels * parts, 1, [&](std::int64_t task, std::int64_t) {
      const int l = static_cast<int>(task) / parts, part = static_cast<int>(task) % parts;
      with_features(net.grid.features,
                    [&](auto features) { scatter_level<features>(problem, terms, second, l, part, parts, d_table); });
    });
  }
}

#define DFAST_INSTANTIATE(T)                                                                                       \
  template void field_forward<T>(Launch, const FieldNet&, std::int64_t, const std::int64_t*, const T*, const T*,   \
                                 const Half*, const T*, const T*, T*, T*, T*);                                     \
  template void field_backward<T>(Launch, const FieldNet&, std::int64_t, const std::int64_t*, const T*, const T*,  \
                                  const Half*, const T*, const T*, const T*, const T*, const T*, std::int64_t, T*, \
                                  T*);
DFAST_INSTANTIATE(float)
DFAST_INSTANTIATE(double)
#undef DFAST_INSTANTIATE

}  // namespace dfast::cpu
