// Writes models as TorchScript files and runs those with libtorch alone, for tests of what comes
// of it.
//
//   run_torchscript FOLDER...     each as write_cases leaves it. Written into each:
//
//   model.pt
//   torchscript.safetensors       y, one: what it gives for x of values.safetensors, and for the
//                                 first sample alone; state/<name>: its parameters and buffers
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include <cstdio>
#include <stdexcept>

#include "base/safetensors.h"
#include "runner/data_type.h"
#include "runner/torchscript.h"

namespace cyxwiz::runner {
namespace {

void Check(const Status& status) {
  if (!status.ok()) throw std::runtime_error(status.ToString());
}

void Run(const std::string& folder) {
  Check(WriteTorchScript(folder, folder + "/model.pt"));
  torch::jit::Module module = torch::jit::load(folder + "/model.pt");
  Result<SafetensorsFile> values = ReadSafetensors(folder + "/values.safetensors");
  Check(values.status());
  const SafetensorsFile::Entry& entry = values->entries.at("x");
  at::Tensor x = at::from_blob(const_cast<void*>(values->values(entry)), entry.shape,
                               ScalarTypeOf(entry.type));
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  {
    at::NoGradGuard no_grad;
    tensors.emplace_back("y", module.forward({x}).toTensor().contiguous());
    tensors.emplace_back("one", module.forward({x.narrow(0, 0, 1)}).toTensor().contiguous());
  }
  for (const auto& one : module.named_parameters()) {
    tensors.emplace_back("state/" + one.name, one.value);
  }
  for (const auto& one : module.named_buffers()) {
    tensors.emplace_back("state/" + one.name, one.value);
  }
  std::vector<TensorView> views;
  for (const auto& [name, tensor] : tensors) {
    views.push_back({name, DataTypeOf(tensor), tensor.sizes().vec(), tensor.data_ptr()});
  }
  Check(WriteSafetensors(folder + "/torchscript.safetensors", views, {}));
}

}  // namespace
}  // namespace cyxwiz::runner

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    try {
      cyxwiz::runner::Run(argv[i]);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "run_torchscript: %s: %s\n", argv[i], error.what());
      return 1;
    }
  }
  return 0;
}
