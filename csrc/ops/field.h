// The whole field in one op: hash grid, MLP, density, albedo, and the gradient of the density's logit.
//
// Forward, with H hidden layers, W and b the MLP's weights, m the masks of active units, a the adjoints of o_0:
//   e = hash_encode(unit(x)), J = de/dx;  h_0 = e;  z_k = W_k h_{k-1} + b_k, h_k = relu(z_k), m_k = [z_k > 0]
//   o = W_{H+1} h_H + b_{H+1};  density = phi(o_0 + bias + blob(x));  albedo = sigmoid(o_1..3)
//   a_{H+1} = e_0, a_k = (W_{k+1}^T a_{k+1}) * m_k, a_0 = W_1^T a_1;  g = J^T a_0 + grad blob
//
// Backward, given obar = dL/do and u = dL/dg, with hdot_0 = J u, hdot_k = m_k * (W_k hdot_{k-1}) and
// d_{H+1} = obar, d_k = (W_{k+1}^T d_{k+1}) * m_k, d_0 = W_1^T d_1,
//   dW_k = d_k h_{k-1}^T + a_k hdot_{k-1}^T,  db_k = d_k,
//   dT[corner] = w_c(x) d_0 + (u . grad w_c) a_0        one scatter per corner for both orders.
// x is a constant. docs/math.md derives both ("Field", "Normals and second order").
#pragma once

#include <cstdint>
#include <stdexcept>

#include "math/density.h"
#include "ops/hashgrid.h"

namespace dfast {

constexpr int kFieldOutputs = 4;  // the density's logit and three of the albedo
constexpr int kMaxHiddenLayers = 3;

struct FieldNet {
  HashGrid grid;
  int width = 0;   // width of the hidden layers
  int layers = 0;  // hidden layers H, 1..3
  DensityHead head;
};

inline FieldNet make_field_net(const HashGrid& grid, int width, int layers, int activation, double scale, double bias,
                               int blob, double blob_height, double blob_width) {
  if (width < 1 || width > 256 || layers < 1 || layers > kMaxHiddenLayers || activation < 0 || activation > 1 ||
      blob < 0 || blob > 2) {
    throw std::invalid_argument("FieldNet: width in [1, 256], 1..3 layers, activation in {0, 1}, blob in {0, 1, 2}");
  }
  FieldNet net;
  net.grid = grid, net.width = width, net.layers = layers;
  net.head = {static_cast<Activation>(activation), scale, bias, static_cast<Blob>(blob), blob_height, blob_width};
  return net;
}

// The place of layer k (0 is the first hidden one, `layers` the output) in `mlp`, which holds W [out, in] row-major,
// then b [out], layer after layer.
struct FieldLayer {
  int in, out;
  int weight, bias;  // first element of each
};

DFAST_HD FieldLayer field_layer(int inputs, int width, int layers, int k) {
  FieldLayer layer = {inputs, width, 0, 0};
  for (int i = 0;; ++i) {
    layer.out = i == layers ? kFieldOutputs : width;
    layer.bias = layer.weight + layer.in * layer.out;
    if (i == k) return layer;
    layer.weight = layer.bias + layer.out;
    layer.in = layer.out;
  }
}

// The arguments that both passes share. Only the first min(n, *count) points are read and written.
// The CPU takes every shape in T = float or double. CUDA takes T = float with `table_half`, 2 features, up to 16 levels
// and widths 16, 32, 64 or 128; it throws for the rest.
template <class T>
struct FieldParams {
  FieldNet net;
  std::int64_t n;
  const std::int64_t* count;  // [1] on the device, nullable: n
  const T* x;                 // [n, 3] world; outside [-1, 1] the border's table rows are read
  const T* table;             // [entries, F], null where `table_half` is given
  const Half* table_half;     // [entries, F], nullable: read in place of `table`
  const T* level_weights;     // [L], nullable: all ones
  const T* mlp;               // [P], see field_layer

  DFAST_FIELDS(net, n, count, x, table, table_half, level_weights, mlp)
};

template <class T>
struct FieldForwardParams {
  FieldParams<T> field;
  T* density;            // [n]
  T* albedo;             // [n, 3]
  T* gradient;           // [n, 3], nullable
  std::uint32_t* saved;  // see field_saved_words, nullable; CUDA only
  bool keeps_jacobian;   // whether `saved` holds the Jacobians, which saves the backward pass another gather

  DFAST_FIELDS(field, density, albedo, gradient, saved, keeps_jacobian)
};

template <class T>
struct FieldBackwardParams {
  FieldParams<T> field;
  const std::uint32_t* saved;  // from the forward pass; not used on the CPU
  bool keeps_jacobian;         // as in the forward pass
  const T* d_density;          // [n], nullable: zero
  const T* d_albedo;           // [n, 3], nullable: zero
  const T* d_gradient;         // [n, 3], nullable (on CUDA only if the forward pass made no gradient)
  std::int64_t chunk;          // points at a time, a multiple of kFieldChunkMultiple; CUDA only
  int parts;                   // blocks that sum d_mlp, at most; CUDA only
  std::uint32_t* workspace;    // see field_workspace_words; CUDA only
  std::int64_t entries;        // rows of the table
  T* d_table;                  // [entries, F], zeroed; the launcher adds to it
  T* d_mlp;                    // [P], zeroed; the launcher adds to it

  DFAST_FIELDS(field, saved, keeps_jacobian, d_density, d_albedo, d_gradient, chunk, parts, workspace, entries, d_table,
               d_mlp)
};

constexpr int kFieldChunkMultiple = 128;      // points
constexpr int kFieldMaxSharedBytes = 170000;  // shared memory that CUDA needs for its largest shape, 3 layers of 128

// Words that CUDA's forward pass saves for 32 lanes and 16 points. `saved` is [ceil(n / 16), words, 32]:
// H ceil(width / 64) words of ReLU masks, then per 8 levels 4 words of encoded inputs if no gradient is computed, 16
// words (inputs and Jacobians) if one is and `keeps_jacobian` is set, else none.
constexpr int field_saved_words(int levels, int width, int layers, bool gradient, bool keeps_jacobian) {
  const int kept = !gradient ? 4 : keeps_jacobian ? 16 : 0;
  return layers * ((width + 63) / 64) + kept * ((levels + 7) / 8);
}

// Words in the workspace of CUDA's backward pass: d_0 and, with a gradient, a_0 [L, chunk], the points' scales [chunk],
// then d_mlp's parts [parts, P].
constexpr std::int64_t field_workspace_words(int levels, std::int64_t chunk, int parts, std::int64_t parameters,
                                             bool gradient) {
  return ((gradient ? 2 : 1) * levels + 1) * chunk + parts * parameters;
}

#define DFAST_FIELD_FORWARD(X) DFAST_FLOATS(X, field_forward, FieldForwardParams)
#define DFAST_FIELD_BACKWARD(X) DFAST_FLOATS(X, field_backward, FieldBackwardParams)
DFAST_FIELD_FORWARD(DFAST_DECLARE)
DFAST_FIELD_BACKWARD(DFAST_DECLARE)

}  // namespace dfast
