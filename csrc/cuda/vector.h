// Loads and stores of several numbers at once.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace dfast::cuda {

template <class S, int W>
struct alignas(sizeof(S) * W) Vector {
  S v[W];
};

// How many numbers of S fit into 16 bytes, the widest memory access.
template <class S>
constexpr int kWidest = 16 / sizeof(S);

// Returns whether every pointer of the list is aligned to 16 bytes.
inline bool aligned16(std::initializer_list<const void*> pointers) {
  for (const void* pointer : pointers) {
    if (reinterpret_cast<std::uintptr_t>(pointer) % 16 != 0) return false;
  }
  return true;
}

}  // namespace dfast::cuda
