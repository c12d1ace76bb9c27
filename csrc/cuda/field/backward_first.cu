// The fused field's backward pass of values alone.
#include "cuda/field/backward.cuh"

namespace dfast::cuda {

template void field_adjoints<false>(const Launch&, const FieldArgs&, int, float*);

}  // namespace dfast::cuda
