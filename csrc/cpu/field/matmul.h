// Small matrix products with register tiles, for the field's MLP on the host.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "cpu/large_pages.h"
#include "cpu/parallel.h"
#include "math/common.h"

namespace dfast::cpu {

// A vector of `Bytes`, which the compiler splits where registers are narrower.
template <typename T, int Bytes>
struct Simd {
  static constexpr int kWidth = Bytes / static_cast<int>(sizeof(T));
  typedef T Vec __attribute__((vector_size(Bytes), aligned(sizeof(T)), may_alias));
};

// Returns the distance between rows of n numbers: an odd number of cache lines, so that a column is spread over the
// sets of the cache.
template <typename T>
int pitch(int n) {
  const int line = 64 / static_cast<int>(sizeof(T));
  return ((n + line - 1) / line | 1) * line;
}

// Zeroed memory aligned to a cache line, or, where it is large, to a large page.
template <typename T>
class Buffer {
 public:
  explicit Buffer(std::size_t size = 0) {
    if (size == 0) return;
    const std::size_t bytes = size * sizeof(T), alignment = bytes < kLargePage ? 64 : kLargePage;
    data_ =
        std::unique_ptr<T[], Free>(static_cast<T*>(::operator new(bytes, std::align_val_t(alignment))), {alignment});
    ask_for_large_pages(data_.get(), bytes);
    std::memset(static_cast<void*>(data_.get()), 0, bytes);
  }
  T* get() const { return data_.get(); }
  T& operator[](std::size_t i) const { return data_[i]; }

 private:
  struct Free {
    std::size_t alignment = 64;
    void operator()(T* p) const { ::operator delete(p, std::align_val_t(alignment)); }
  };
  std::unique_ptr<T[], Free> data_;
};

// A matrix whose element (i, k) is p[i * row + k * column].
template <typename T>
struct Strided {
  const T* p;
  int row, column;
};

// C = start + A B with A [rows, depth], B [depth, columns], C [rows, columns]. Columns are computed up to the next
// whole vector, for which all rows but those of A have room. `start` is null for zero, one row with start_pitch 0, or C
// itself.
template <typename T>
struct Product {
  int rows, columns, depth;
  Strided<T> a;
  const T* b;
  int b_pitch;
  const T* start;
  int start_pitch;
  T* c;
  int c_pitch;

  // Returns the part from row i and column j on.
  Product from(int i, int j) const {
    return {rows - i,
            columns - j,
            depth,
            {a.p + i * a.row, a.row, a.column},
            b + j,
            b_pitch,
            start ? start + i * start_pitch + j : nullptr,
            start_pitch,
            c + i * c_pitch + j,
            c_pitch};
  }
};

// Computes the first R rows and V vectors of columns, summed over `depth` in registers.
template <typename S, int R, int V, typename T>
DFAST_HD void multiply_tile(const Product<T>& p) {
  using Vec = typename S::Vec;
  constexpr int kWidth = S::kWidth;
  Vec sum[R][V];
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      sum[r][v] = p.start ? *reinterpret_cast<const Vec*>(p.start + r * p.start_pitch + v * kWidth) : Vec{};
    }
  }
  for (int k = 0; k < p.depth; ++k) {
    Vec row[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) row[v] = *reinterpret_cast<const Vec*>(p.b + k * p.b_pitch + v * kWidth);
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
      const T factor = p.a.p[r * p.a.row + k * p.a.column];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[r][v] += factor * row[v];
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) *reinterpret_cast<Vec*>(p.c + r * p.c_pitch + v * kWidth) = sum[r][v];
  }
}

// Computes V vectors of columns, R rows at a time, then the rest of the rows, fewer at a time.
template <typename S, int R, int V, typename T>
DFAST_HD void multiply_rows(const Product<T>& p) {
  int i = 0;
  for (; i + R <= p.rows; i += R) multiply_tile<S, R, V>(p.from(i, 0));
  if constexpr (R > 1) multiply_rows<S, R / 2, V>(p.from(i, 0));
}

// Computes V vectors of columns at a time, then the rest of the columns, fewer at a time. A tile has at most `Sums`
// vectors of sums, which with V of a row and a factor fill the registers.
template <typename S, int Sums, int V, typename T>
DFAST_HD void multiply_columns(const Product<T>& p) {
  constexpr int kRows = std::min(12, Sums / V), kColumns = V * S::kWidth, kRest = V > 1 ? kColumns - 1 : 0;
  int j = 0;
  for (; j + kRest < p.columns; j += kColumns) multiply_rows<S, kRows, V>(p.from(0, j));
  if constexpr (V > 1) multiply_columns<S, Sums, V / 2>(p.from(0, j));
}

// Sixteen registers of 32 bytes.
template <typename T>
DFAST_ONE_COPY void multiply_narrow(const Product<T>& p) {
  multiply_columns<Simd<T, 32>, 12, 2>(p);
}

#if defined(__x86_64__) && defined(__GNUC__)

// Thirty-two registers of 64 bytes. Every sum has the same terms in the same order as in multiply_narrow.
template <typename T>
DFAST_ONE_COPY __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw"))) void multiply_wide(const Product<T>& p) {
  multiply_columns<Simd<T, 64>, 24, 4>(p);
}

inline bool has_wide() {
  static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
  return has;
}

template <typename T>
void multiply(const Product<T>& p) {
  has_wide() ? multiply_wide(p) : multiply_narrow(p);
}

#else

template <typename T>
void multiply(const Product<T>& p) {
  multiply_narrow(p);
}

#endif

}  // namespace dfast::cpu
