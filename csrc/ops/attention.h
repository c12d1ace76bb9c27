// Multi-head attention of rows to few others, as a diffusion model's pixels attend to a text:
//
//   y[b, i, h] = sum_j p_ij v[b, j, h],  p_ij = exp(s_ij) / sum_j exp(s_ij),  s_ij = q[b, i, h] . k[b, j, h] / sqrt(D)
//
// where [b, i, h] is the h-th part of D channels of row i of sample b.
#pragma once
#include <cmath>
#include <cstdint>

#include "math/half.h"
#include "ops/launcher.h"

namespace dfast {

// The rows of a tensor [B, N, C], which may be parts of longer ones.
template <class S>
struct RowsOf {
  const S* data;
  int64_t batch_pitch, row_pitch;  // distance of samples, and of rows

  DFAST_HD const S* row(int64_t b, int64_t i) const { return data + b * batch_pitch + i * row_pitch; }
};

template <class S>
struct AttentionParams {
  const S* q;                                              // [B, N, C]
  const S* k;                                              // [B, M, C]
  const S* v;                                              // [B, M, C]
  int64_t q_batch, q_row, k_batch, k_row, v_batch, v_row;  // distances of samples and of rows
  int64_t batch;                                           // B
  int64_t rows;                                            // N
  int64_t keys;                                            // M, at least 1
  int64_t heads;                                           // H
  int64_t size;                                            // D, C / H
  S* y;                                                    // [B, N, C]

  DFAST_FIELDS(q, k, v, q_batch, q_row, k_batch, k_row, v_batch, v_row, batch, rows, keys, heads, size, y)

  DFAST_HD RowsOf<S> queries() const { return {q, q_batch, q_row}; }
  DFAST_HD RowsOf<S> all_keys() const { return {k, k_batch, k_row}; }
  DFAST_HD RowsOf<S> values() const { return {v, v_batch, v_row}; }
};

constexpr int64_t kMaxAttentionKeys = 80;   // M on CUDA, where D is a multiple of 8
constexpr int64_t kMaxAttentionSize = 192;  // D on CUDA

#define DFAST_ATTENTION(X) DFAST_STORED(X, attention, AttentionParams)
DFAST_ATTENTION(DFAST_DECLARE)

}  // namespace dfast
