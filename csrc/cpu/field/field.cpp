// The fused field on the host. The forward pass saves nothing for the backward pass, which recomputes the activations.
//
// Results do not depend on the number of threads. Work is cut into chunks of kChunk samples. Each chunk sums its own
// part of d_mlp, and the parts are added in order. The terms of the table are stored for kBatch samples at a time and
// then scattered: a task owns a level (or a range of its rows) and adds in sample order. Letters are those of
// ops/field.h.
#include "ops/field.h"

#include <vector>

#include "cpu/field/block.h"
#include "cpu/parallel.h"

namespace dfast::cpu {
namespace {

constexpr std::int64_t kChunk = 1024;         // samples of a chunk; a multiple of kLanes
constexpr std::int64_t kBatch = 64 * kChunk;  // samples whose terms are stored at a time, which bounds the memory

std::int64_t bounded(std::int64_t n, const std::int64_t* count) { return count ? std::min(n, *count) : n; }

}  // namespace

template <typename T>
void field_forward(Launch launch, const FieldForwardParams<T>& params) {
  const FieldParams<T>& p = params.field;
  const FieldNet& net = p.net;
  const T* x = p.x;
  T *density = params.density, *albedo = params.albedo, *gradient = params.gradient;
  const Problem<T> problem(p);
  const int pitch = problem.weights.layer[net.layers].out_pitch;
  const auto make = [&] { return Block<T>(problem, gradient != nullptr, false); };
  parallel_chunks(launch.threads, bounded(p.n, p.count), kChunk, make, [&](auto begin, auto end, Block<T>& block) {
    for (std::int64_t first = begin; first < end; first += kLanes) {
      const int size = static_cast<int>(std::min<std::int64_t>(kLanes, end - first));
      block.encode(x + 3 * first, size, gradient != nullptr);
      block.forward(size);
      if (gradient) block.adjoint(size);
      for (int i = 0; i < size; ++i) {
        const T *at = x + 3 * (first + i), *out = block.out + i * pitch;
        T slope;
        density[first + i] =
            density_of(net.head, out[0] + T(net.head.bias) + blob_of<T>(net.head, at, nullptr), &slope);
        for (int c = 0; c < 3; ++c) albedo[3 * (first + i) + c] = sigmoid(out[1 + c]);
        if (gradient) block.gradient(at, i, gradient + 3 * (first + i));
      }
    }
  });
}

namespace {

// The terms of the scatter, for those samples of a batch that receive a gradient. Each chunk fills its own part: from
// the start with samples of the first order, and from the end with those whose normal receives a gradient.
template <typename T>
struct Terms {
  std::int64_t size;
  Buffer<T> x, u;                              // [size, 3] in the grid's units
  Buffer<T> d0, a0;                            // [L, size, F]
  std::vector<int> first_order, second_order;  // number of samples of each chunk

  Terms(const HashGrid& grid, std::int64_t n, bool second)
      : size(n),
        x(3 * n),
        u(second ? 3 * n : 0),
        d0(n * grid.levels * grid.features),
        a0(second ? n * grid.levels * grid.features : 0),
        first_order((n + kChunk - 1) / kChunk),
        second_order(first_order.size()) {}
};

// Returns whether any of `count` gradients is not zero. A NaN counts as a gradient.
template <typename T>
bool any(const T* gradients, std::int64_t i, int count) {
  bool found = false;
  for (int c = 0; gradients && c < count; ++c) found |= gradients[count * i + c] != T(0);
  return found;
}

// Up to kLanes samples and their incoming gradients.
template <typename T>
struct Incoming {
  int count = 0;
  T x[3 * kLanes], density[kLanes], albedo[3 * kLanes], gradient[3 * kLanes];

  void append(std::int64_t i, const T* points, const T* d_density, const T* d_albedo, const T* d_gradient) {
    density[count] = d_density ? d_density[i] : T(0);
    for (int c = 0; c < 3; ++c) {
      x[3 * count + c] = points[3 * i + c];
      albedo[3 * count + c] = d_albedo ? d_albedo[3 * i + c] : T(0);
      gradient[3 * count + c] = d_gradient ? d_gradient[3 * i + c] : T(0);
    }
    ++count;
  }
};

template <typename T>
struct Worker {
  Block<T> block;
  Incoming<T> waiting[2];  // of the first order; of the second
  Worker(const Problem<T>& problem, bool second) : block(problem, second, true) {}
};

// Runs the backward pass of in.count samples; writes `terms` from sample `first` on and adds to the chunk's sums.
template <typename T>
void run_backward(const Problem<T>& p, Block<T>& block, const Incoming<T>& in, bool second, Terms<T>& terms,
                  std::int64_t first, T* sums) {
  const DensityHead& head = p.net.head;
  const int n = in.count, outputs = p.weights.layer[p.net.layers].out_pitch, inputs = p.weights.layer[0].in_pitch;
  block.encode(in.x, n, second);
  block.forward(n);
  for (int i = 0; i < n; ++i) {
    T* out = block.out + i * outputs;
    T slope;
    density_of(head, out[0] + T(head.bias) + blob_of<T>(head, in.x + 3 * i, nullptr), &slope);
    out[0] = in.density[i] * slope;
    for (int c = 0; c < 3; ++c) {
      const T rho = sigmoid(out[1 + c]);
      out[1 + c] = in.albedo[3 * i + c] * rho * (T(1) - rho);
    }
  }
  block.backward(n);
  if (second) block.adjoint(n), block.tangent(in.gradient, n);
  block.weight_gradients(n, second, sums);
  for (int i = 0; i < 3 * n; ++i) {
    terms.x[3 * first + i] = unit(in.x[i]);
    if (second) terms.u[3 * first + i] = T(0.5) * in.gradient[i];  // d unit / dx = 1/2
  }
  with_features(p.net.grid.features, [&](auto features) {
    constexpr int F = features;
    for (int l = 0; l < p.net.grid.levels; ++l) {
      const std::int64_t at = (l * terms.size + first) * F;
      for (int i = 0; i < n; ++i) {
        for (int f = 0; f < F; ++f) terms.d0[at + F * i + f] = block.d[0][i * inputs + l * F + f];
      }
      for (int i = 0; second && i < n; ++i) {
        for (int f = 0; f < F; ++f) terms.a0[at + F * i + f] = block.a[0][i * inputs + l * F + f];
      }
    }
  });
}

// A part of the rows of a level, [low, high) of all of them.
struct RowRange {
  std::uint32_t low, high;
  bool all;

  RowRange(const HashLevel& level, int part, int parts)
      : low(static_cast<std::uint32_t>(level_rows(level) * part / parts)),
        high(static_cast<std::uint32_t>(level_rows(level) * (part + 1) / parts)),
        all(parts == 1) {}
  bool has(std::uint32_t row) const { return all || (row >= low && row < high); }
};

// Adds the terms of samples [first, first + count) in level l to the rows of `range`.
template <int F, bool Second, typename T>
void scatter_block(const Problem<T>& p, const Terms<T>& terms, int l, std::int64_t first, int count,
                   const RowRange& range, Lanes<T>& lanes, HashRow<T, F>* rows) {
  const HashLevel& level = p.net.grid.level[l];
  const T lw = level_weight(p.level_weights, l);
  const std::int64_t at = (l * terms.size + first) * F;
  const T *d0 = terms.d0.get() + at, *a0 = Second ? terms.a0.get() + at : nullptr;
  alignas(64) T sums[8][F * kLanes];
  Lanes<T>::load(terms.x.get() + 3 * first, count, lanes.x);
  lanes.locate(level, p.net.grid.smooth);
  prefetch_rows<true>(rows, level, lanes.row, count);
  lanes.weigh(lw);
  if (Second) {
    Lanes<T>::load(terms.u.get() + 3 * first, count, lanes.u);
    lanes.tilt(lw);
  }
  for (int c = 0; c < 8; ++c) {
    for (int i = 0; i < count; ++i) {
      for (int f = 0; f < F; ++f) {
        sums[c][F * i + f] = lanes.corner[c][i] * d0[F * i + f] + (Second ? lanes.slope[c][i] * a0[F * i + f] : T(0));
      }
    }
  }
  for (int i = 0; i < count; ++i) {
    for (int c = 0; c < 8; ++c) {
      const std::uint32_t row = lanes.row[c][i];
      if (!range.has(row)) continue;
      for (int f = 0; f < F; ++f) rows[row].v[f] += sums[c][F * i + f];
    }
  }
}

// Adds all terms of level l to the rows that lie in part `part` of `parts`.
template <int F, typename T>
void scatter_level(const Problem<T>& p, const Terms<T>& terms, int l, int part, int parts, T* d_table) {
  const HashLevel& level = p.net.grid.level[l];
  if (level_weight(p.level_weights, l) == T(0)) return;
  auto* rows = reinterpret_cast<HashRow<T, F>*>(d_table) + level.offset;
  const RowRange range(level, part, parts);
  Lanes<T> lanes;
  const auto each = [&](std::int64_t begin, std::int64_t end, auto block) {
    for (std::int64_t first = begin; first < end; first += kLanes) {
      block(first, static_cast<int>(std::min<std::int64_t>(kLanes, end - first)));
    }
  };
  for (std::size_t chunk = 0; chunk < terms.first_order.size(); ++chunk) {
    const std::int64_t begin = chunk * kChunk, end = std::min<std::int64_t>(begin + kChunk, terms.size);
    each(begin, begin + terms.first_order[chunk], [&](std::int64_t first, int count) {
      scatter_block<F, false>(p, terms, l, first, count, range, lanes, rows);
    });
    each(end - terms.second_order[chunk], end,
         [&](std::int64_t first, int count) { scatter_block<F, true>(p, terms, l, first, count, range, lanes, rows); });
  }
}

// Adds a chunk's sums to d_mlp.
template <typename T>
void add_sums(const Packed<T>& weights, const T* sums, T* d_mlp) {
  for (int k = 0; k < weights.count; ++k) {
    const Layer<T>& l = weights.layer[k];
    for (int o = 0; o < l.out; ++o) {
      for (int i = 0; i < l.in; ++i) d_mlp[l.weight + o * l.in + i] += sums[l.d_weight + o * l.in_pitch + i];
      d_mlp[l.bias + o] += sums[l.d_bias + o];
    }
  }
}

}  // namespace

template <typename T>
void field_backward(Launch launch, const FieldBackwardParams<T>& params) {
  const FieldParams<T>& p = params.field;
  const FieldNet& net = p.net;
  const std::int64_t n = bounded(p.n, p.count);
  if (n <= 0) return;
  const bool second = params.d_gradient != nullptr;
  const Problem<T> problem(p);
  const std::int64_t batch = std::min(n, kBatch), sums_of = problem.weights.sums;
  Terms<T> terms(net.grid, batch, second);
  const Buffer<T> sums(terms.first_order.size() * sums_of);
  const auto make = [&] { return Worker<T>(problem, second); };
  for (std::int64_t start = 0; start < n; start += batch) {
    const std::int64_t size = std::min(batch, n - start);
    std::fill(terms.first_order.begin(), terms.first_order.end(), 0);
    std::fill(terms.second_order.begin(), terms.second_order.end(), 0);
    parallel_chunks(launch.threads, size, kChunk, make, [&](auto begin, auto end, Worker<T>& worker) {
      const std::int64_t chunk = begin / kChunk, limit = std::min(begin + kChunk, terms.size);
      T* own = sums.get() + chunk * sums_of;
      std::fill_n(own, sums_of, T(0));
      const auto run = [&](bool order) {
        Incoming<T>& in = worker.waiting[order];
        int& done = order ? terms.second_order[chunk] : terms.first_order[chunk];
        const std::int64_t first = order ? limit - done - in.count : begin + done;
        if (in.count > 0) run_backward(problem, worker.block, in, order, terms, first, own);
        done += in.count, in.count = 0;
      };
      for (std::int64_t i = start + begin; i < start + end; ++i) {
        const bool curved = any(params.d_gradient, i, 3);
        if (!curved && !any(params.d_density, i, 1) && !any(params.d_albedo, i, 3)) continue;
        Incoming<T>& in = worker.waiting[curved];
        in.append(i, p.x, params.d_density, params.d_albedo, params.d_gradient);
        if (in.count == kLanes) run(curved);
      }
      run(false), run(true);
    });
    for (std::int64_t chunk = 0; chunk * kChunk < size; ++chunk) {
      add_sums(problem.weights, sums.get() + chunk * sums_of, params.d_mlp);
    }
    const int parts = std::max(1, launch.threads / net.grid.levels);
    parallel_chunks(launch.threads, net.grid.levels * parts, 1, [&](std::int64_t task, std::int64_t) {
      const int l = static_cast<int>(task) / parts, part = static_cast<int>(task) % parts;
      with_features(net.grid.features,
                    [&](auto features) { scatter_level<features>(problem, terms, l, part, parts, params.d_table); });
    });
  }
}

DFAST_FIELD_FORWARD(DFAST_INSTANTIATE)
DFAST_FIELD_BACKWARD(DFAST_INSTANTIATE)

}  // namespace dfast::cpu
