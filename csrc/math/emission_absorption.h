// One step of the emission-absorption integral, and its adjoint.
#pragma once
#include <cmath>

#include "math/common.h"

namespace dfast {

// Returns alpha = 1 - exp(-density dt), without cancellation for thin samples.
template <class T>
DFAST_HD T alpha_of(T density, T dt) {
  return -std::expm1(-density * dt);
}

// Returns w_i = T_i alpha_i and sets T_{i+1} = T_i - w_i, so that sum w + T = 1 holds by construction.
template <class T>
DFAST_HD T absorb(T* transmittance, T density, T dt) {
  const T weight = *transmittance * alpha_of(density, dt);
  *transmittance -= weight;
  return weight;
}

// With g_i = dL/dw_i, dw_i/dtau_i = dt_i T_{i+1} and, for j > i, dw_j/dtau_i = -dt_i w_j (each later
// weight carries the factor exp(-tau_i dt_i)). Hence
//     dL/dtau_i = dt_i (g_i T_{i+1} - sum_{j>i} g_j w_j) = dt_i T_{i+1} (g_i - behind_i),
// behind_i = sum_{j>i} g_j w_j / T_{i+1}: the weighted mean of g behind sample i. It follows from the next sample by
// behind_{i-1} = alpha_i g_i + (1 - alpha_i) behind_i. This recurrence has no subtraction, unlike a total minus a
// prefix.
template <class T>
DFAST_HD T absorb_vjp(T g_i, T behind, T transmittance_after, T dt) {
  return dt * transmittance_after * (g_i - behind);
}

}  // namespace dfast
