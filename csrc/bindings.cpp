// The Python module dfast._C: one function per launcher, and the constants and sizes that Python needs.
//
// A launcher's function takes (device, stream, threads) and the fields of its parameter struct by name. Pointers are
// addresses, with 0 or None for null. dfast/_native.py is the only caller.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <limits>
#include <sstream>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "cpu/large_pages.h"
#include "ops/adam.h"
#include "ops/antialias.h"
#include "ops/attention.h"
#include "ops/composite.h"
#include "ops/field.h"
#include "ops/gated.h"
#include "ops/group_norm.h"
#include "ops/hashgrid.h"
#include "ops/interpolate.h"
#include "ops/launcher.h"
#include "ops/layer_norm.h"
#include "ops/march.h"
#include "ops/normal_variation.h"
#include "ops/occupancy.h"
#include "ops/rasterize.h"
#include "ops/rays.h"
#include "ops/shade.h"
#include "ops/shade_composite.h"
#include "ops/texture.h"
#include "ops/texture_level.h"
#include "ops/world.h"

namespace py = pybind11;
using namespace dfast;

namespace {

// ---- From Python values to fields: load() returns whether the value fits, kExpected says what would.

// Returns whether the last conversion succeeded, and clears its error.
bool no_error() {
  if (!PyErr_Occurred()) return true;
  PyErr_Clear();
  return false;
}

template <class F, class = void>
struct Loader {  // a class known to Python, such as HashGrid
  static constexpr const char* kExpected = "an object of the extension";
  static bool load(PyObject* value, F& field) {
    py::detail::make_caster<F> caster;
    if (!caster.load(value, false)) return false;
    field = py::detail::cast_op<F&>(caster);
    return true;
  }
};

template <class P>
struct Loader<P*> {
  static constexpr const char* kExpected = "an address (int) or None";
  static bool load(PyObject* value, P*& field) {
    if (value == Py_None) return field = nullptr, true;
    if (!PyLong_Check(value)) return false;
    field = static_cast<P*>(PyLong_AsVoidPtr(value));
    return field || no_error();
  }
};

template <>
struct Loader<bool> {
  static constexpr const char* kExpected = "a bool";
  static bool load(PyObject* value, bool& field) {
    field = value == Py_True;
    return PyBool_Check(value);
  }
};

template <class I>
struct Loader<I, std::enable_if_t<std::is_integral_v<I> || std::is_enum_v<I>>> {
  static constexpr const char* kExpected = "an int in range";
  static bool load(PyObject* value, I& field) {
    if (!PyLong_Check(value)) return false;
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    field = static_cast<I>(number);
    return overflow == 0 && static_cast<long long>(field) == number;
  }
};

template <class R>
struct Loader<R, std::enable_if_t<std::is_floating_point_v<R>>> {
  static constexpr const char* kExpected = "a number";
  static bool load(PyObject* value, R& field) {
    if (!PyFloat_Check(value) && !PyLong_Check(value)) return false;
    const double number = PyFloat_AsDouble(value);
    field = static_cast<R>(number);
    return number != -1.0 || no_error();
  }
};

template <class E>
struct Loader<std::vector<E>> {
  static constexpr const char* kExpected = "a list, each item of the type that the field holds";
  static bool load(PyObject* value, std::vector<E>& field) {
    if (!PyList_Check(value)) return false;
    field.resize(static_cast<std::size_t>(PyList_GET_SIZE(value)));
    for (std::size_t i = 0; i < field.size(); ++i) {
      if (!Loader<E>::load(PyList_GET_ITEM(value, i), field[i])) return false;
    }
    return true;
  }
};

// ---- Parameter structs (see DFAST_FIELDS in ops/launcher.h)

template <class P, class = void>
struct IsDescribed : std::false_type {};
template <class P>
struct IsDescribed<P, std::void_t<decltype(P::field_names)>> : std::true_type {};

// Appends the names of the fields of P, those of nested structs in place of the member's.
template <class P>
void append_names(std::vector<std::string>& names) {
  std::istringstream members(P::field_names);
  P params = {};
  std::apply(
      [&](auto&... field) {
        const auto append = [&](auto& member) {
          std::string name;
          std::getline(members >> std::ws, name, ',');
          using F = std::remove_reference_t<decltype(member)>;
          if constexpr (IsDescribed<F>::value) {
            append_names<F>(names);
          } else {
            names.push_back(name);
          }
        };
        (append(field), ...);
      },
      params.fields());
}

// An op as Python sees it: its name without suffix, and the names of its fields as interned Python strings.
struct Signature {
  std::string op;
  std::vector<py::object> names;

  template <class Params>
  static Signature of(const char* op) {
    Signature signature{op, {}};
    std::vector<std::string> names;
    append_names<Params>(names);
    for (const std::string& name : names) {
      signature.names.push_back(py::reinterpret_steal<py::object>(PyUnicode_InternFromString(name.c_str())));
    }
    return signature;
  }

  [[noreturn]] void fail(const std::string& message) const { throw py::type_error("dfast." + op + " " + message); }
};

// Returns the given names that are not fields, quoted and separated by commas.
std::string unknown_names(const Signature& signature, const py::dict& given) {
  std::string names;
  for (const auto& item : given) {
    bool known = false;
    for (const py::object& name : signature.names) known |= name.equal(item.first);
    if (!known) names += (names.empty() ? "'" : ", '") + std::string(py::str(item.first)) + "'";
  }
  return names;
}

// Fills `params` from keyword arguments; `next` counts the fields filled so far.
template <class P>
void fill(P& params, const Signature& signature, const py::dict& given, std::size_t& next) {
  std::apply(
      [&](auto&... field) {
        const auto load = [&](auto& member) {
          using F = std::remove_reference_t<decltype(member)>;
          if constexpr (IsDescribed<F>::value) {
            fill(member, signature, given, next);
          } else {
            const py::object& name = signature.names[next++];
            PyObject* value = PyDict_GetItemWithError(given.ptr(), name.ptr());
            const auto quoted = [&] { return "'" + std::string(py::str(name)) + "'"; };
            if (!value) {
              const std::string unknown = unknown_names(signature, given);
              signature.fail("misses its field " + quoted() + (unknown.empty() ? "" : ", but got " + unknown));
            }
            if (!Loader<F>::load(value, member)) {
              signature.fail("takes " + std::string(Loader<F>::kExpected) + " for its field " + quoted() + ", got " +
                             Py_TYPE(value)->tp_name);
            }
          }
        };
        (load(field), ...);
      },
      params.fields());
}

template <class Params>
void bind(py::module_& m, const char* op, const char* suffix, void (*launcher)(Launch, const Params&)) {
  m.def((std::string(op) + suffix).c_str(),
        [launcher, signature = Signature::of<Params>(op)](int device, std::uintptr_t stream, int threads,
                                                          const py::kwargs& given) {
          Params params = {};
          std::size_t next = 0;
          fill(params, signature, given, next);
          if (given.size() != signature.names.size()) {  // no field is missing, so there is an unknown one
            signature.fail("has no field " + unknown_names(signature, given));
          }
          py::gil_scoped_release release;
          launcher(Launch{device, reinterpret_cast<void*>(stream), threads}, params);
        });
}

// ---- The module

bool cpu_supported() {
#if (defined(__x86_64__) || defined(_M_X64)) && defined(__GNUC__)
  if (std::string(DFAST_CPU_ARCH) == "x86-64-v3") {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  }
#endif
  return true;
}

py::dict constants() {
  using namespace py::literals;
  return py::dict(
      "adam_max_tensors"_a = kAdamMaxTensors, "adam_workspace"_a = kAdamWorkspace,
      "adam_status"_a = py::dict("norm"_a = +kNorm, "step"_a = +kStep, "skipped"_a = +kSkipped, "streak"_a = +kStreak),
      "field_outputs"_a = kFieldOutputs, "field_max_layers"_a = kMaxHiddenLayers, "field_exp_limit"_a = kExpLimit,
      "field_chunk_multiple"_a = kFieldChunkMultiple, "field_max_shared_bytes"_a = kFieldMaxSharedBytes,
      "field_activations"_a = py::dict("softplus"_a = static_cast<int>(Activation::kSoftplus),
                                       "exp"_a = static_cast<int>(Activation::kExp)),
      "field_blobs"_a = py::dict("none"_a = static_cast<int>(Blob::kNone), "linear"_a = static_cast<int>(Blob::kLinear),
                                 "gaussian"_a = static_cast<int>(Blob::kGaussian)),
      "attention_max_keys"_a = kMaxAttentionKeys, "attention_max_size"_a = kMaxAttentionSize,
      "group_norm_max_splits"_a = kMaxGroupNormSplits,
      "group_norm_activations"_a =
          py::dict("none"_a = static_cast<int>(Nonlinearity::kNone), "silu"_a = static_cast<int>(Nonlinearity::kSilu),
                   "gelu"_a = static_cast<int>(Nonlinearity::kGelu)),
      "march_max_runs"_a = kMarchMaxRuns, "occupancy_part"_a = kOccupancyPart, "world_max_parts"_a = kMaxParts,
      "world_primitives"_a = kPrimitives);
}

}  // namespace

#ifdef DFAST_WITH_CUDA
constexpr bool kWithCuda = true;
#define DFAST_BIND_CUDA(name, T, suffix) bind(m, #name, "_cuda_" suffix, &cuda::name<T>);
#else
constexpr bool kWithCuda = false;
#define DFAST_BIND_CUDA(name, T, suffix)
#define DFAST_CUDA_ARCHS ""
#endif
#define DFAST_BIND(name, Params, T, suffix)      \
  bind(m, #name, "_cpu_" suffix, &cpu::name<T>); \
  DFAST_BIND_CUDA(name, T, suffix)

PYBIND11_MODULE(_C, m) {
  m.doc() = "dfast's native kernels; use them through dfast.ops";

  py::dict build;
  build["version"] = DFAST_VERSION;
  build["cuda"] = kWithCuda;
  build["cuda_archs"] = DFAST_CUDA_ARCHS;
  build["no_cuda"] = DFAST_NO_CUDA;  // why there are no CUDA kernels, "" if there are
  build["compiler"] = __VERSION__;
  build["cpu_arch"] = DFAST_CPU_ARCH;
  m.attr("build") = build;
  m.def("cpu_supported", &cpu_supported, "False if this processor lacks instructions the CPU kernels were built with.");

  m.attr("constants") = constants();
  m.def("field_saved_words", &field_saved_words, py::arg("levels"), py::arg("width"), py::arg("layers"),
        py::arg("gradient"), py::arg("keeps_jacobian"));
  m.def("field_workspace_words", &field_workspace_words, py::arg("levels"), py::arg("chunk"), py::arg("parts"),
        py::arg("parameters"), py::arg("gradient"));
  m.def("march_sums", &march_sums, py::arg("rays"));
  m.def(
      "ask_for_large_pages",
      [](std::uintptr_t address, std::size_t bytes) {
        cpu::ask_for_large_pages(reinterpret_cast<void*>(address), bytes);
      },
      py::arg("address"), py::arg("bytes"));

  py::class_<HashGrid>(m, "HashGrid")
      .def(py::init(&make_hash_grid), py::arg("features"), py::arg("smooth"), py::arg("scales"), py::arg("resolutions"),
           py::arg("offsets"), py::arg("dense"), py::arg("dimensions"));
  py::class_<FieldNet>(m, "FieldNet")
      .def(py::init(&make_field_net), py::arg("grid"), py::arg("width"), py::arg("layers"), py::arg("activation"),
           py::arg("scale"), py::arg("bias"), py::arg("blob"), py::arg("blob_height"), py::arg("blob_width"));

  DFAST_ADAM(DFAST_BIND)
  DFAST_ANTIALIAS(DFAST_BIND)
  DFAST_ATTENTION(DFAST_BIND)
  DFAST_COMPOSITE(DFAST_BIND)
  DFAST_FIELD_FORWARD(DFAST_BIND)
  DFAST_FIELD_BACKWARD(DFAST_BIND)
  DFAST_GATED(DFAST_BIND)
  DFAST_GROUP_NORM(DFAST_BIND)
  DFAST_GROUP_NORM_BACKWARD(DFAST_BIND)
  DFAST_HASHGRID(DFAST_BIND)
  DFAST_INTERPOLATE(DFAST_BIND)
  DFAST_LAYER_NORM(DFAST_BIND)
  DFAST_MARCH(DFAST_BIND)
  DFAST_NORMAL_VARIATION(DFAST_BIND)
  DFAST_OCCUPANCY(DFAST_BIND)
  DFAST_RASTERIZE(DFAST_BIND)
  DFAST_RAYS(DFAST_BIND)
  DFAST_SHADE(DFAST_BIND)
  DFAST_SHADE_COMPOSITE(DFAST_BIND)
  DFAST_TEXTURE(DFAST_BIND)
  DFAST_TEXTURE_LEVEL(DFAST_BIND)
  DFAST_WORLD(DFAST_BIND)
}
