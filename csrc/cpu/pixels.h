// Loops over the pixels of images on the host, and sums into rows that several pixels add to.
#pragma once

#include <cstdint>

#include "cpu/parallel.h"
#include "math/screen.h"

namespace dfast::cpu {

constexpr std::int64_t kPixelRows = 8;  // of a chunk

// Calls body(place) for the pixels of rows [begin, end) of the B N rows, in order.
template <class Body>
void visit_rows(std::int64_t begin, std::int64_t end, int resolution, const Body& body) {
  for (std::int64_t row = begin; row < end; ++row) {
    PixelPlace place(row, 0, resolution);
    for (; place.x < resolution; ++place.x, ++place.index) body(place);
  }
}

// Calls body(place) for all pixels of the B views, by several threads.
template <class Body>
void for_each_pixel(int threads, std::int64_t views, int resolution, const Body& body) {
  parallel_chunks(threads, views * resolution, kPixelRows,
                  [&](std::int64_t begin, std::int64_t end) { visit_rows(begin, end, resolution, body); });
}

// Calls body(low, high) for ranges of `rows` rows, one a thread. Each adds to its own rows only, in the order of the
// pixels, so that the sums do not depend on the number of threads.
template <class Body>
void for_each_owner(int threads, std::int64_t rows, const Body& body) {
  const std::int64_t range = (rows + std::max(threads, 1) - 1) / std::max(threads, 1);
  parallel_chunks(threads, rows, range, body);
}

}  // namespace dfast::cpu
