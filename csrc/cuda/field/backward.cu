// The field's backward pass: computes the adjoints of a chunk of points, then scatters them into the table.
#include "cuda/field/launch.h"
#include "cuda/hash_scatter.cuh"

namespace dfast::cuda {

template <bool kSecondOrder>
void field_adjoints(const Launch& launch, const FieldArgs& p, int parts, float* d_mlp);  // backward.cuh

namespace {

// The adjoints of one chunk, as read by the scatter.
struct AdjointSource {
  static constexpr bool kInside = true;
  const std::int64_t* device_count;
  std::int64_t n, first, max_points;
  const float* x;
  const float* d_gradient;
  FieldAdjoints adjoints;

  __device__ __forceinline__ std::int64_t count() const {
    const std::int64_t all = device_count && *device_count < n ? *device_count : n;
    const std::int64_t left = all - first;
    return left < max_points ? left : max_points;
  }
  __device__ __forceinline__ void point(std::int64_t i, float (&to)[3]) const {
#pragma unroll
    for (int k = 0; k < 3; ++k) to[k] = unit_of(__ldg(x + 3 * (first + i) + k));
  }
  __device__ __forceinline__ void direction(std::int64_t i, float (&to)[3]) const {
#pragma unroll
    for (int k = 0; k < 3; ++k) to[k] = 0.5f * __ldg(d_gradient + 3 * (first + i) + k);
  }
  __device__ __forceinline__ void adjoint(std::int64_t i, int level, float (&to)[2]) const {
    const float2 d = unpack_half(__ldcs(adjoints.d + level * adjoints.pitch + i));
    const float unit = __ldg(adjoints.unit + i);
    to[0] = unit * d.x, to[1] = unit * d.y;
  }
  __device__ __forceinline__ void second(std::int64_t i, int level, float (&to)[2]) const {
    const float2 a = unpack_half(__ldcs(adjoints.a + level * adjoints.pitch + i));
    to[0] = a.x, to[1] = a.y;
  }
};

}  // namespace

template <class T>
void field_backward(Launch launch, const FieldBackwardParams<T>& params) {
  if constexpr (!std::is_same_v<T, float>) {
    throw std::invalid_argument("field_backward on CUDA computes in half precision: float32 only");
  } else {
    const std::int64_t n = params.field.n, chunk = params.chunk;
    const HashGrid& grid = params.field.net.grid;
    if (n == 0) return;
    if (!params.saved) throw std::invalid_argument("field_backward on CUDA needs what the forward pass saved");
    if (chunk < kFieldChunkMultiple || chunk % kFieldChunkMultiple) {
      throw std::invalid_argument("field_backward: chunk must be a multiple of 128");
    }
    const DeviceGuard guard(launch.device);
    FieldArgs p = field_args(params.field);
    p.saved = const_cast<std::uint32_t*>(params.saved), p.keeps_jacobian = params.keeps_jacobian;
    p.d_density = params.d_density, p.d_albedo = params.d_albedo, p.d_gradient = params.d_gradient;
    const FieldLayer last = field_layer(2 * grid.levels, p.net.width, p.net.layers, p.net.layers);
    p.parameters = last.bias + last.out;
    // The layout of the workspace, see field_workspace_words.
    std::uint32_t* const a = params.workspace + grid.levels * chunk;
    std::uint32_t* const unit = p.d_gradient ? a + grid.levels * chunk : a;
    p.adjoints = {params.workspace, a, reinterpret_cast<float*>(unit), chunk};
    p.partial = reinterpret_cast<float*>(unit + chunk);
    for (p.first = 0; p.first < n; p.first += chunk) {
      p.max_points = n - p.first < chunk ? n - p.first : chunk;
      const AdjointSource source = {p.count, n, p.first, p.max_points, p.x, p.d_gradient, p.adjoints};
      if (p.d_gradient) {
        field_adjoints<true>(launch, p, params.parts, params.d_mlp);
        scatter_samples<true>(launch, grid, p.level_weights, p.max_points, source, params.d_table);
      } else {
        field_adjoints<false>(launch, p, params.parts, params.d_mlp);
        scatter_samples<false>(launch, grid, p.level_weights, p.max_points, source, params.d_table);
      }
    }
  }
}

DFAST_FIELD_BACKWARD(DFAST_INSTANTIATE)

}  // namespace dfast::cuda
