// Sums into rows on the host: each thread owns a range of rows, and adds to them in the order of the items that name
// them, so that the sums do not depend on the number of threads.
#pragma once

#include <cstdint>

#include "cpu/parallel.h"

namespace dfast::cpu {

// Calls body(low, high) for ranges of `rows` rows, one a thread.
template <class Body>
void for_each_owner(int threads, std::int64_t rows, const Body& body) {
  const std::int64_t range = (rows + std::max(threads, 1) - 1) / std::max(threads, 1);
  parallel_chunks(threads, rows, range, body);
}

}  // namespace dfast::cpu
