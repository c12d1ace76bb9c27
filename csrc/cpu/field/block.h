// The computation of the field for blocks of kLanes samples, in cache. Cells and the tree of linear interpolations are
// lane-parallel and yield value and Jacobian from one reading of the table; the matrix products have one row per
// sample. Letters are those of ops/field.h.
#pragma once

#include <vector>

#include "cpu/field/matmul.h"
#include "cpu/hash_lanes.h"
#include "ops/field.h"

namespace dfast::cpu {

constexpr int kMaxLayers = kMaxHiddenLayers + 1;

// The weights W [out, in] of one layer in the layouts of both products, and the bias.
template <typename T>
struct Layer {
  int in, out, weight, bias;  // as in field_layer
  int in_pitch, out_pitch;
  const T* down;         // [in, out_pitch], W^T
  const T* up;           // [out, in_pitch], W
  const T* shift;        // [out_pitch]
  int d_weight, d_bias;  // place in a chunk's sums: [out, in_pitch] and [out_pitch]
};

// The weights of all layers, padded with zeros to whole vectors.
template <typename T>
struct Packed {
  int count;  // number of layers, including the output layer
  Layer<T> layer[kMaxLayers];
  int sums = 0;  // size of a chunk's part of d_mlp
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

// The arguments that both passes share.
template <typename T>
struct Problem {
  const FieldNet& net;
  const Packed<T> weights;
  const T* table;
  const Half* table_half;
  const T* level_weights;

  explicit Problem(const FieldParams<T>& p)
      : net(p.net), weights(p.net, p.mlp), table(p.table), table_half(p.table_half), level_weights(p.level_weights) {}
};

// Maps world [-1, 1] to the grid's [0, 1]. NaN stays NaN.
template <typename T>
T unit(T x) {
  const T at = (x + T(1)) * T(0.5);
  return at < T(0) ? T(0) : at > T(1) ? T(1) : at;
}

// The state of kLanes samples. Rows are samples: h[k], hdot[k], a[k] and d[k] are [kLanes, pitch of layer k's input].
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

  // Computes h[0] and, if wanted, the Jacobian of `count` points.
  void encode(const T* x, int count, bool slopes) {
    T inside[3 * kLanes];
    for (int i = 0; i < 3 * count; ++i) inside[i] = unit(x[i]);
    Lanes<T>::load(inside, count, lanes.x);
    with_features(p_.net.grid.features, [&](auto features) { encode_as<features>(count, slopes); });
  }

  // Computes h and out from h[0].
  void forward(int count) {
    for (int k = 0; k < w_.count; ++k) {
      const Layer<T>& l = w_.layer[k];
      T* to = k + 1 < w_.count ? h[k + 1] : out;
      multiply<T>({count, l.out, l.in, rows(h[k], l.in_pitch), l.down, l.out_pitch, l.shift, 0, to, l.out_pitch});
      if (k + 1 == w_.count) break;
      for (int i = 0; i < count * l.out_pitch; ++i) to[i] = T(0) > to[i] ? T(0) : to[i];  // keeps NaN
    }
  }

  // Computes a[k] = d out_0 / d h[k], masked by the active units of h[k] for k > 0, down to a[0] = d out_0 / de.
  void adjoint(int count) {
    const int top = w_.count - 1;
    for (int i = 0; i < count; ++i) std::copy_n(last().up, last().in_pitch, a[top] + i * last().in_pitch);
    for (int k = top; k > 0; --k) {
      mask(a[k], h[k], count * w_.layer[k].in_pitch);
      pull(k - 1, a[k], a[k - 1], count);
    }
  }

  // Computes g = J^T a_0 + grad blob of sample i.
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

  // Computes d[k] from out = dL/d outputs.
  void backward(int count) {
    for (int k = w_.count - 1; k >= 0; --k) {
      pull(k, k + 1 < w_.count ? d[k + 1] : out, d[k], count);
      if (k > 0) mask(d[k], h[k], count * w_.layer[k].in_pitch);
    }
  }

  // Computes hdot[k] from u [count, 3] = dL/dg, with hdot_0 = J u.
  void tangent(const T* u, int count) {
    const int first = w_.layer[0].in_pitch;
    for (int i = 0; i < count; ++i) {
      const T *jx = jacobian[0] + i * first, *jy = jacobian[1] + i * first, *jz = jacobian[2] + i * first;
      T* to = hdot[0] + i * first;
      for (int k = 0; k < first; ++k) to[k] = u[3 * i] * jx[k] + u[3 * i + 1] * jy[k] + u[3 * i + 2] * jz[k];
    }
    for (int k = 0; k + 1 < w_.count; ++k) {
      const Layer<T>& l = w_.layer[k];
      multiply<T>(
          {count, l.out, l.in, rows(hdot[k], l.in_pitch), l.down, l.out_pitch, nullptr, 0, hdot[k + 1], l.out_pitch});
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

  // Multiplies adjoints by W_k: to = from W_k.
  void pull(int k, const T* from, T* to, int count) const {
    const Layer<T>& l = w_.layer[k];
    multiply<T>({count, l.in, l.out, rows(from, l.out_pitch), l.up, l.in_pitch, nullptr, 0, to, l.in_pitch});
  }

  static void add_outer(const Layer<T>& l, int count, const T* up, const T* below, T* sums) {
    multiply<T>({l.out, l.in, count, {up, 1, l.out_pitch}, below, l.in_pitch, sums, l.in_pitch, sums, l.in_pitch});
  }

  template <int F>
  void encode_as(int count, bool slopes) {
    const int columns = w_.layer[0].in_pitch, parts = slopes ? 4 : 1;
    T* const to[4] = {h[0], jacobian[0], jacobian[1], jacobian[2]};
    for (int l = 0; l < p_.net.grid.levels; ++l) {
      const T lw = level_weight(p_.level_weights, l);
      if (lw == T(0)) continue;  // its columns stay zero
      lanes.locate(p_.net.grid.level[l], p_.net.grid.smooth);
      with_rows<F>(p_.table, p_.table_half, p_.net.grid.level[l].offset, [&](const auto* rows) {
        prefetch_rows<false>(rows, p_.net.grid.level[l], lanes.row, count);
        for (int c = 0; c < 8; ++c) {
          T* corner = corners_ + c * F * kLanes;
          for (int i = 0; i < count; ++i) {
            const auto row = rows[lanes.row[c][i]];
            for (int f = 0; f < F; ++f) corner[F * i + f] = widen<T>(row.v[f]);
          }
        }
      });
      slopes ? lerp<F, true>(lw) : lerp<F, false>(lw);
      for (int part = 0; part < parts; ++part) {
        const T* from = lerped_ + part * F * kLanes;
        T* column = to[part] + l * F;
        for (int i = 0; i < count; ++i) {
          for (int f = 0; f < F; ++f) column[i * columns + f] = from[F * i + f];
        }
      }
    }
  }

  // Interpolates the value and computes its three slopes from the differences that the interpolations contain.
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

}  // namespace dfast::cpu
