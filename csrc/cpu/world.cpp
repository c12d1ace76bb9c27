#include "ops/world.h"

#include <algorithm>
#include <vector>

#include "cpu/parallel.h"

namespace dfast::cpu {

namespace {

constexpr int64_t kItems = 512;  // points or rays of a chunk

// Calls body(parts, i) for each of `items` items of every scene; i counts the items of all scenes. A thread prepares
// the parts of a scene when it meets another one than before.
template <class T, class Body>
void for_each_item(int threads, const SceneParts<T>& table, int64_t items, const Body& body) {
  struct State {
    int64_t scene = -1;
    std::vector<Part<T>> parts;
  };
  const auto run = [&](int64_t begin, int64_t end, State& state) {
    for (int64_t i = begin; i < end;) {
      const int64_t scene = i / items, stop = std::min(end, (scene + 1) * items);
      if (scene != state.scene) {
        state.scene = scene;
        state.parts.clear();
        for (int k = 0; k < table.parts; ++k) state.parts.push_back(table.part(scene * table.parts + k));
      }
      for (; i < stop; ++i) body(state.parts.data(), i);
    }
  };
  parallel_chunks(threads, table.scenes * items, kItems, [] { return State{}; }, run);
}

}  // namespace

template <class T>
void scene_distance(Launch launch, const SceneDistanceParams<T>& p) {
  for_each_item(launch.threads, p.table, p.points,
                [&](const Part<T>* parts, int64_t i) { scene_distance_at(p, parts, i); });
}

template <class T>
void trace_views(Launch launch, const TraceViewsParams<T>& p) {
  for_each_item(launch.threads, p.table, p.rays, [&](const Part<T>* parts, int64_t r) { trace_ray(p, parts, r); });
}

DFAST_WORLD(DFAST_INSTANTIATE)

}  // namespace dfast::cpu
