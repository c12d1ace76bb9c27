// The fused field's backward pass of values and gradient.
#include "cuda/field/backward.cuh"

namespace dfast::cuda {

template void field_adjoints<true>(const Launch&, const FieldArgs&, int, float*);

}  // namespace dfast::cuda
