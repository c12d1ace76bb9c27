// Large pages for memory that a step allocates and frees: otherwise the faults of its small pages take longer than the
// work on them.
#pragma once

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <cstddef>
#include <cstdint>

namespace dfast::cpu {

constexpr std::size_t kLargePage = std::size_t(1) << 21;

// Asks the system for large pages in [address, address + bytes), before anything is written there. It may decline.
inline void ask_for_large_pages([[maybe_unused]] void* address, [[maybe_unused]] std::size_t bytes) {
#ifdef __linux__
  const auto begin = (reinterpret_cast<std::uintptr_t>(address) + kLargePage - 1) & ~(kLargePage - 1);
  const auto end = (reinterpret_cast<std::uintptr_t>(address) + bytes) & ~(kLargePage - 1);
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

}  // namespace dfast::cpu
