// The whole face of dfast._C. Each op is one row of the table at the end: its launcher's C++ signature becomes
// Python's, with pointers as integers (0 for null), after (device, stream, threads). dfast/_native.py is the only
// caller.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <vector>

#include "math/common.h"
#include "ops/adam.h"
#include "ops/composite.h"
#include "ops/field.h"
#include "ops/gated.h"
#include "ops/group_norm.h"
#include "ops/hashgrid.h"
#include "ops/march.h"
#include "ops/rays.h"
#include "ops/shade.h"
#include "ops/shade_composite.h"

namespace py = pybind11;
using namespace dfast;

namespace {

template <typename A>
struct Wire {
  using type = A;
  static A get(A value) { return value; }
};
template <typename P>
struct Wire<P*> {
  using type = std::uintptr_t;
  static P* get(std::uintptr_t address) { return reinterpret_cast<P*>(address); }
};
template <typename P>
struct Wire<std::vector<P*>> {
  using type = std::vector<std::uintptr_t>;
  static std::vector<P*> get(const type& addresses) {
    std::vector<P*> pointers;
    for (const std::uintptr_t address : addresses) pointers.push_back(reinterpret_cast<P*>(address));
    return pointers;
  }
};

template <typename... Args>
void def_launcher(py::module_& m, const std::string& name, void (*launcher)(Launch, Args...)) {
  m.def(name.c_str(), [launcher](int device, std::uintptr_t stream, int threads, typename Wire<Args>::type... args) {
    py::gil_scoped_release release;
    launcher(Launch{device, reinterpret_cast<void*>(stream), threads}, Wire<Args>::get(args)...);
  });
}

bool cpu_supported() {
#if (defined(__x86_64__) || defined(_M_X64)) && defined(__GNUC__)
  if (std::string(DFAST_CPU_ARCH) == "x86-64-v3") {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  }
#endif
  return true;
}

}  // namespace

#ifdef DFAST_WITH_CUDA
constexpr bool kWithCuda = true;
#define DFAST_CUDA_ROW(name, suffix, launcher) def_launcher(m, name "_cuda" suffix, &launcher)
#else
constexpr bool kWithCuda = false;
#define DFAST_CUDA_ROW(name, suffix, launcher) (void)0
#define DFAST_CUDA_ARCHS ""
#endif

// An op templated on its float type: <name>_{cpu,cuda}_{f32,f64}.
#define DFAST_OP(name)                                   \
  def_launcher(m, #name "_cpu_f32", &cpu::name<float>);  \
  def_launcher(m, #name "_cpu_f64", &cpu::name<double>); \
  DFAST_CUDA_ROW(#name, "_f32", cuda::name<float>);      \
  DFAST_CUDA_ROW(#name, "_f64", cuda::name<double>)

// An op templated on how numbers are stored: with _f16 and _bf16 too.
#define DFAST_STORED_OP(name)                               \
  DFAST_OP(name);                                           \
  def_launcher(m, #name "_cpu_f16", &cpu::name<Half>);      \
  def_launcher(m, #name "_cpu_bf16", &cpu::name<Bfloat16>); \
  DFAST_CUDA_ROW(#name, "_f16", cuda::name<Half>);          \
  DFAST_CUDA_ROW(#name, "_bf16", cuda::name<Bfloat16>)

// An op with no float type: <name>_{cpu,cuda}.
#define DFAST_PLAIN_OP(name)                 \
  def_launcher(m, #name "_cpu", &cpu::name); \
  DFAST_CUDA_ROW(#name, "", cuda::name)

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

  py::class_<HashGrid>(m, "HashGrid")
      .def(py::init(&make_hash_grid), py::arg("features"), py::arg("smooth"), py::arg("scales"), py::arg("resolutions"),
           py::arg("offsets"), py::arg("dense"));

  // ops/hashgrid.h
  DFAST_OP(hash_encode);
  DFAST_OP(hash_encode_grad);
  DFAST_OP(hash_jvp);
  DFAST_OP(hash_scatter);
  DFAST_OP(hash_hvp);

  py::class_<FieldNet>(m, "FieldNet")
      .def(py::init(&make_field_net), py::arg("grid"), py::arg("width"), py::arg("layers"), py::arg("activation"),
           py::arg("scale"), py::arg("bias"), py::arg("blob"), py::arg("blob_height"), py::arg("blob_width"));

  // ops/field.h
  DFAST_OP(field_forward);
  DFAST_OP(field_backward);

  // ops/rays.h, ops/march.h, ops/composite.h, ops/shade.h, ops/shade_composite.h
  DFAST_OP(pixel_rays);
  DFAST_OP(march_count);
  DFAST_OP(march_write);
  DFAST_OP(composite);
  DFAST_OP(composite_backward);
  DFAST_OP(shade);
  DFAST_OP(shade_backward);
  DFAST_OP(shade_composite);
  DFAST_OP(shade_composite_backward);

  // ops/group_norm.h, ops/gated.h
  DFAST_STORED_OP(group_norm);
  DFAST_STORED_OP(group_norm_backward);
  DFAST_STORED_OP(geglu);
  DFAST_STORED_OP(merge);

  // ops/adam.h
  DFAST_OP(gradient_norm);
  DFAST_OP(adam_step);
}
