// Small matrix products with register tiles, for the field's MLP on the host.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

namespace dfast::cpu {

// A vector of 32 bytes, which the compiler splits where registers are narrower.
template <typename T>
struct Simd {
  static constexpr int kWidth = 32 / static_cast<int>(sizeof(T));
  typedef T Vec __attribute__((vector_size(32), aligned(sizeof(T)), may_alias));
};

// Returns n rounded up to whole vectors.
template <typename T>
int padded(int n) {
  return (n + Simd<T>::kWidth - 1) / Simd<T>::kWidth * Simd<T>::kWidth;
}

// Returns the distance between rows of n numbers: an odd number of cache lines, so that a column is spread over the
// sets of the cache.
template <typename T>
int pitch(int n) {
  const int line = 64 / static_cast<int>(sizeof(T));
  return ((n + line - 1) / line | 1) * line;
}

// Zeroed memory aligned to a cache line.
template <typename T>
class Buffer {
 public:
  explicit Buffer(std::size_t size = 0) {
    if (size == 0) return;
    data_.reset(static_cast<T*>(::operator new(size * sizeof(T), std::align_val_t(64))));
    std::memset(static_cast<void*>(data_.get()), 0, size * sizeof(T));
  }
  T* get() const { return data_.get(); }
  T& operator[](std::size_t i) const { return data_[i]; }

 private:
  struct Free {
    void operator()(T* p) const { ::operator delete(p, std::align_val_t(64)); }
  };
  std::unique_ptr<T[], Free> data_;
};

// A matrix whose element (i, k) is p[i * row + k * column].
template <typename T>
struct Strided {
  const T* p;
  int row, column;
};

// Computes one tile of R rows and V vectors of columns, summed over `depth` in registers.
template <int R, int V, typename T>
void multiply_tile(int depth, Strided<T> a, const T* b, int b_pitch, const T* start, int start_pitch, T* c,
                   int c_pitch) {
  using Vec = typename Simd<T>::Vec;
  constexpr int kWidth = Simd<T>::kWidth;
  Vec sum[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      sum[r][v] = start ? *reinterpret_cast<const Vec*>(start + r * start_pitch + v * kWidth) : Vec{};
    }
  }
  for (int k = 0; k < depth; ++k) {
    Vec row[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) row[v] = *reinterpret_cast<const Vec*>(b + k * b_pitch + v * kWidth);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const T factor = a.p[r * a.row + k * a.column];
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) sum[r][v] += factor * row[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) *reinterpret_cast<Vec*>(c + r * c_pitch + v * kWidth) = sum[r][v];
  }
}

template <int V, typename T>
void multiply_columns(int rows, int depth, Strided<T> a, const T* b, int b_pitch, const T* start, int start_pitch, T* c,
                      int c_pitch) {
  constexpr int kRows = 6;  // 12 sums, 2 columns and a factor fill sixteen registers
  const auto run = [&](auto tile, int i) {
    tile(depth, Strided<T>{a.p + i * a.row, a.row, a.column}, b, b_pitch, start ? start + i * start_pitch : nullptr,
         start_pitch, c + i * c_pitch, c_pitch);
  };
  int i = 0;
  for (; i + kRows <= rows; i += kRows) run(multiply_tile<kRows, V, T>, i);
  if (rows - i >= 4) run(multiply_tile<4, V, T>, i), i += 4;
  if (rows - i >= 2) run(multiply_tile<2, V, T>, i), i += 2;
  if (rows - i >= 1) run(multiply_tile<1, V, T>, i);
}

// Computes C = start + A B with A [rows, depth], B [depth, columns], C [rows, columns], where `columns` are whole
// vectors. `start` is null for zero, one row with start_pitch 0, or C itself.
template <typename T>
void multiply(int rows, int columns, int depth, Strided<T> a, const T* b, int b_pitch, const T* start, int start_pitch,
              T* c, int c_pitch) {
  constexpr int kWidth = Simd<T>::kWidth;
  int j = 0;
  for (; j + 2 * kWidth <= columns; j += 2 * kWidth) {
    multiply_columns<2>(rows, depth, a, b + j, b_pitch, start ? start + j : nullptr, start_pitch, c + j, c_pitch);
  }
  if (j < columns) {
    multiply_columns<1>(rows, depth, a, b + j, b_pitch, start ? start + j : nullptr, start_pitch, c + j, c_pitch);
  }
}

}  // namespace dfast::cpu
