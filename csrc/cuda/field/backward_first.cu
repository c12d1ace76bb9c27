// Instantiates the fused field's backward pass without a gradient of g (first order).
#include "cuda/field/backward.cuh"

namespace dfast::cuda {

template void field_adjoints<false>(const Launch&, const FieldArgs&, int, float*);

}  // namespace dfast::cuda
