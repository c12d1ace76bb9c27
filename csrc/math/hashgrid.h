// One level of the multiresolution hash grid: where a point falls, which table rows its cell's corners use, and the
// corner weights with their first and second derivatives.
#pragma once

#include "math/common.h"

namespace dfast {

struct HashLevel {
  double scale;              // grid position of x is x * scale + 0.5
  std::int32_t resolution;   // vertices a side; the last index is resolution - 1
  bool dense;                // rows in x-fastest order instead of hashed
  std::uint32_t mask;        // hashed: rows - 1
  std::int64_t offset;       // first row in the table
};

}  // namespace dfast
