#include "ops/world.h"

#include <algorithm>
#include <vector>

#include "cpu/parallel.h"

namespace dfast::cpu {

namespace {

constexpr int64_t kItems = 512;  // points or rays of a chunk
constexpr int kLanes = 32;       // points that are evaluated together

// Calls body(parts, begin, end) for stretches of the `items` items of every scene; items of all scenes are counted
// together. A thread prepares the parts of a scene when it meets another one than before.
template <class T, class Body>
void for_each_stretch(int threads, const SceneParts<T>& table, int64_t items, const Body& body) {
  struct State {
    int64_t scene = -1;
    std::vector<Part<T>> parts;
  };
  const auto run = [&](int64_t begin, int64_t end, State& state) {
    while (begin < end) {
      const int64_t scene = begin / items, stop = std::min(end, (scene + 1) * items);
      if (scene != state.scene) {
        state.scene = scene;
        state.parts.clear();
        for (int k = 0; k < table.parts; ++k) state.parts.push_back(table.part(scene * table.parts + k));
      }
      body(state.parts.data(), begin, stop);
      begin = stop;
    }
  };
  parallel_chunks(threads, table.scenes * items, kItems, [] { return State{}; }, run);
}

// The union at kLanes points: nearest_part() with the loop over points inside that over parts, as vector code.
template <class T>
struct NearestLanes {
  T x[3][kLanes];
  T best[kLanes], second[kLanes], best_blend[kLanes], second_blend[kLanes];
  T index[kLanes];  // of the nearest part; a T, so that all selections have one width
  T q[3][kLanes];   // of the current part

  void start() {
    for (int i = 0; i < kLanes; ++i) {
      best[i] = second[i] = T(kFarthest);
      best_blend[i] = second_blend[i] = index[i] = T(0);
    }
  }

  // Returns whether the part may change the union at any of the points, and stores the points for add().
  bool enter(const Part<T> part) {
    int near = 0;
    for (int i = 0; i < kLanes; ++i) {
      const T point[3] = {x[0][i], x[1][i], x[2][i]};
      T entered[3];
      part.enter(point, entered);
      for (int c = 0; c < 3; ++c) q[c][i] = entered[c];
      near |= part.may_be_nearer(entered, second[i]);
    }
    return near != 0;
  }

  template <class Primitive>
  void add(const Part<T> part, T number) {
    for (int i = 0; i < kLanes; ++i) {
      const T entered[3] = {q[0][i], q[1][i], q[2][i]};
      T p[3];
      part.turn(entered, p);
      const T d = (Primitive::distance(part.prepared, p[0], p[1], p[2]) - part.rounding) * part.slope;
      const T old = best[i], old_second = second[i], old_blend = best_blend[i], old_second_blend = second_blend[i];
      const bool first = d < old, next = d < old_second;
      second[i] = first ? old : next ? d : old_second;
      second_blend[i] = first ? old_blend : next ? part.blend : old_second_blend;
      best[i] = first ? d : old;
      best_blend[i] = first ? part.blend : old_blend;
      index[i] = first ? number : index[i];
    }
  }

  void add_all(const Part<T>* parts, int count) {
    start();
    for (int k = 0; k < count; ++k) {
      if (parts[k].kind < 0 || !enter(parts[k])) continue;
      switch (parts[k].kind) {
#define DFAST_CASE(index, Primitive) \
  case index:                        \
    add<Primitive>(parts[k], T(k));  \
    break;
        DFAST_PRIMITIVES(DFAST_CASE)
#undef DFAST_CASE
      }
    }
  }
};

}  // namespace

template <class T>
void scene_distance(Launch launch, const SceneDistanceParams<T>& p) {
  const auto run = [&](const Part<T>* parts, int64_t begin, int64_t end) {
    NearestLanes<T> lanes;
    for (; begin < end; begin += kLanes) {
      const int n = static_cast<int>(std::min<int64_t>(end - begin, kLanes));
      for (int i = 0; i < kLanes; ++i) {  // the last point again in lanes without one
        for (int c = 0; c < 3; ++c) lanes.x[c][i] = p.x[3 * (begin + std::min(i, n - 1)) + c];
      }
      lanes.add_all(parts, p.table.parts);
      for (int i = 0; i < n; ++i) {
        const Nearest<T> nearest = {lanes.best[i], lanes.second[i], lanes.best_blend[i], lanes.second_blend[i],
                                    static_cast<int>(lanes.index[i])};
        store_distance(p, nearest, begin + i);
      }
    }
  };
  for_each_stretch(launch.threads, p.table, p.points, run);
}

template <class T>
void trace_views(Launch launch, const TraceViewsParams<T>& p) {
  for_each_stretch(launch.threads, p.table, p.rays, [&](const Part<T>* parts, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) trace_ray(p, parts, r);
  });
}

DFAST_WORLD(DFAST_INSTANTIATE)

}  // namespace dfast::cpu
