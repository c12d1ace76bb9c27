// Threads for the host launchers. Work is cut into chunks of a fixed size, so that the result of a chunk never depends
// on the number of threads. Threads are started per call (about 20 us each): a pool would break under fork(), and a
// second OpenMP runtime would conflict with that of torch.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace dfast::cpu {

// Forces one compiled copy for all threads. In two inlined copies the compiler may fuse multiplications and additions
// differently, and results would depend on which thread computes them.
#if defined(__clang__)
#define DFAST_ONE_COPY __attribute__((noinline))
#elif defined(__GNUC__)
#define DFAST_ONE_COPY __attribute__((noinline, noclone))
#else
#define DFAST_ONE_COPY __declspec(noinline)
#endif

// Processes chunks until there are no more; `next` is the number of the next chunk that no thread has taken.
template <typename Make, typename Body>
DFAST_ONE_COPY void take_chunks(std::atomic<std::int64_t>& next, std::int64_t count, std::int64_t chunk,
                                const Make& make, const Body& body) {
  const std::int64_t chunks = (count + chunk - 1) / chunk;
  auto state = make();
  for (std::int64_t i = next++; i < chunks; i = next++) body(i * chunk, std::min(count, (i + 1) * chunk), state);
}

// Calls body(begin, end, state) over [0, count) in chunks of `chunk`; chunks run in any order, each exactly once. Each
// participating thread makes one `state` of its own. `make` and `body` must not throw.
template <typename Make, typename Body>
void parallel_chunks(int threads, std::int64_t count, std::int64_t chunk, const Make& make, const Body& body) {
  if (count <= 0) return;
  const std::int64_t chunks = (count + chunk - 1) / chunk;
  const int workers = static_cast<int>(std::min<std::int64_t>(std::max(threads, 1), chunks));
  std::atomic<std::int64_t> next{0};
  const auto work = [&] { take_chunks(next, count, chunk, make, body); };
  std::vector<std::thread> helpers;
  helpers.reserve(workers - 1);
  for (int i = 1; i < workers; ++i) helpers.emplace_back(work);
  work();
  for (auto& helper : helpers) helper.join();
}

// Calls body(begin, end) likewise, without state.
template <typename Body>
void parallel_chunks(int threads, std::int64_t count, std::int64_t chunk, const Body& body) {
  parallel_chunks(
      threads, count, chunk, [] { return 0; }, [&](std::int64_t begin, std::int64_t end, int) { body(begin, end); });
}

}  // namespace dfast::cpu
