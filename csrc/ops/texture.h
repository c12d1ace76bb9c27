// Trilinear texture look-up. Level l of the mip chain has height >> l by width >> l texels, row 0 at v = 0; all levels
// stand one after the other in one array. Positions beyond the centres of the outermost texels see those texels.
#pragma once
#include <cmath>
#include <cstdint>

#include "ops/launcher.h"

namespace dfast {

struct MipChain {
  int height, width, levels;
  int channels;

  DFAST_FIELDS(height, width, levels, channels)

  // Returns the first texel of a level.
  DFAST_HD int64_t start(int level) const {
    int64_t texels = 0;
    for (int l = 0; l < level; ++l) texels += static_cast<int64_t>(height >> l) * (width >> l);
    return texels;
  }
};

template <class T>
struct TextureParams {
  MipChain chain;
  const T* texels;  // [M, C]
  const T* uv;      // [P, 2]
  const T* level;   // [P] or null: 0
  int64_t points;   // P
  T* out;           // [P, C]

  DFAST_FIELDS(chain, texels, uv, level, points, out)
};

// The two texels along one axis around a position, and how much of the second.
template <class T>
struct TexelPair {
  int first, second;
  T part;
  T slope;  // d part / d position, in texels; 0 beyond the border

  DFAST_HD TexelPair(T position, int size) {
    const T x = position * T(size) - T(0.5), last = T(size - 1);
    const bool inside = x > T(0) && x < last;
    const T at = x < last ? (x > T(0) ? x : T(0)) : last;  // the border also for a NaN, whose part is NaN
    first = static_cast<int>(at);
    second = first + 1 < size ? first + 1 : first;
    part = x == x ? at - T(first) : x;
    slope = inside ? T(size) : T(0);
  }
};

// The texels of one level around a point: four with bilinear weights.
template <class T>
struct Footprint {
  int64_t texel[4];
  T weight[4], du[4], dv[4];

  DFAST_HD Footprint(const MipChain& chain, int level, T u, T v) {
    const int height = chain.height >> level, width = chain.width >> level;
    const TexelPair<T> x(u, width), y(v, height);
    const int64_t start = chain.start(level);
    for (int k = 0; k < 4; ++k) {
      const bool right = k & 1, below = k >> 1;
      texel[k] = start + static_cast<int64_t>(below ? y.second : y.first) * width + (right ? x.second : x.first);
      const T wx = right ? x.part : T(1) - x.part, wy = below ? y.part : T(1) - y.part;
      weight[k] = wx * wy;
      du[k] = (right ? x.slope : -x.slope) * wy;
      dv[k] = (below ? y.slope : -y.slope) * wx;
    }
  }
};

// The two levels around a real one, and how much of the second.
template <class T>
struct LevelPair {
  int first, count;  // count is 1 where the second has no part
  T part, slope;

  DFAST_HD LevelPair(const T* level /* [P] or null */, int64_t i, int levels) {
    const T l = level ? level[i] : T(0), last = T(levels - 1);
    const bool inside = l > T(0) && l < last;
    const T at = l < last ? (l > T(0) ? l : T(0)) : last;
    first = static_cast<int>(at);
    part = l == l ? at - T(first) : l;
    slope = inside ? T(1) : T(0);
    count = first + 1 < levels ? 2 : 1;
  }
  DFAST_HD T weight(int k) const { return k ? part : T(1) - part; }
};

template <class T>
DFAST_HD void look_up(const TextureParams<T>& p, int64_t i) {
  const int channels = p.chain.channels;
  T* out = p.out + i * channels;
  for (int c = 0; c < channels; ++c) out[c] = T(0);
  const LevelPair<T> levels(p.level, i, p.chain.levels);
  for (int l = 0; l < levels.count; ++l) {
    const Footprint<T> f(p.chain, levels.first + l, p.uv[2 * i], p.uv[2 * i + 1]);
    for (int k = 0; k < 4; ++k) {
      const T w = levels.weight(l) * f.weight[k];
      const T* texel = p.texels + f.texel[k] * channels;
      for (int c = 0; c < channels; ++c) out[c] += w * texel[c];
    }
  }
}

template <class T>
struct TextureBackwardParams {
  MipChain chain;
  const T* texels;
  const T* uv;
  const T* level;
  const T* d_out;   // [P, C]
  int64_t points;   // P
  int64_t rows;     // M
  T* d_texels;      // [M, C] zeros, to which is added; or null:
  T* terms;         // [P, 8, C] what each point adds to the texels of
  int64_t* places;  // [P, 8]; texel 0 where it adds nothing
  T* d_uv;          // [P, 2]
  T* d_level;       // [P] or null

  DFAST_FIELDS(chain, texels, uv, level, d_out, points, rows, d_texels, terms, places, d_uv, d_level)
};

// Computes the gradients of the position and the level of point i.
template <class T>
DFAST_HD void look_up_backward(const TextureBackwardParams<T>& p, int64_t i) {
  const int channels = p.chain.channels;
  const LevelPair<T> levels(p.level, i, p.chain.levels);
  T du = T(0), dv = T(0), d_level = T(0);
  for (int l = 0; l < levels.count; ++l) {
    const Footprint<T> f(p.chain, levels.first + l, p.uv[2 * i], p.uv[2 * i + 1]);
    for (int k = 0; k < 4; ++k) {
      const T* texel = p.texels + f.texel[k] * channels;
      T along = T(0);
      for (int c = 0; c < channels; ++c) along += p.d_out[i * channels + c] * texel[c];
      du += levels.weight(l) * f.du[k] * along;
      dv += levels.weight(l) * f.dv[k] * along;
      d_level += (l ? levels.slope : -levels.slope) * f.weight[k] * along;
    }
  }
  p.d_uv[2 * i] = du;
  p.d_uv[2 * i + 1] = dv;
  if (p.d_level) p.d_level[i] = d_level;
}

// Calls body(texel, weight, k in [0, 8)) for the texels that point i reads.
template <class T, class Body>
DFAST_HD void visit_texels(const TextureBackwardParams<T>& p, int64_t i, const Body& body) {
  const LevelPair<T> levels(p.level, i, p.chain.levels);
  for (int l = 0; l < levels.count; ++l) {
    const Footprint<T> f(p.chain, levels.first + l, p.uv[2 * i], p.uv[2 * i + 1]);
    for (int k = 0; k < 4; ++k) body(f.texel[k], levels.weight(l) * f.weight[k], 4 * l + k);
  }
}

#define DFAST_TEXTURE(X)                  \
  DFAST_FLOATS(X, texture, TextureParams) \
  DFAST_FLOATS(X, texture_backward, TextureBackwardParams)
DFAST_TEXTURE(DFAST_DECLARE)

}  // namespace dfast
