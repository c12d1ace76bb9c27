// Instantiates the fused field's backward pass with a gradient of g (second order).
#include "cuda/field/backward.cuh"

namespace dfast::cuda {

template void field_adjoints<true>(const Launch&, const FieldArgs&, int, float*);

}  // namespace dfast::cuda
