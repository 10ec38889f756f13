// Writes models as jobs leave them, with inputs and what the runner computes from them, for tests
// of what other tools make of the same files.
//
//   write_cases FOLDER CASES.json... [EXAMPLE.json ...]
//
// A file that holds an array has cases ({"name", "model"}); one that holds an object is a job file,
// of whose data the first samples are taken; without its data it is left out. Of each case:
//
//   FOLDER/<name>/model.json, weights.safetensors
//   FOLDER/<name>/values.safetensors     x: as the data set holds it; y: output of the model
#include <cstdio>
#include <filesystem>
#include <stdexcept>

#include "base/file.h"
#include "base/safetensors.h"
#include "data/dataset.h"
#include "runner/data_type.h"
#include "runner/module.h"
#include "spec/check_model.h"
#include "spec/job_file.h"

namespace cyxwiz::runner {
namespace {

constexpr int64_t kSamples = 5;

void Check(const Status& status) {
  if (!status.ok()) throw std::runtime_error(status.ToString());
}

template <typename T>
T Checked(Result<T> result) {
  Check(result.status());
  return std::move(result).value();
}

// Away from the ones and zeros that many begin with. Variances stay positive.
void Disturb(Model* model) {
  at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : model->state()) {
    if (tensor.scalar_type() != at::kFloat) continue;
    at::Tensor values = tensor;
    values.add_(at::empty_like(values).uniform_(-0.1, 0.1));
  }
}

// divisor: of values that are bytes.
void Write(const std::string& folder, const spec::ModelSpec& spec, const std::string& dataset,
           const at::Tensor& raw, float divisor) {
  at::manual_seed(7);
  Model model(spec, at::kCPU);
  Disturb(&model);
  at::NoGradGuard no_grad;
  const bool bytes = raw.scalar_type() == at::kByte;
  at::Tensor x = raw.to(at::kFloat);
  if (bytes) x.div_(divisor);
  at::Tensor y = model.Forward(x, /*training=*/false, /*logits=*/false).contiguous();
  Check(MakeFolder(folder));
  std::vector<TensorView> weights;
  std::vector<at::Tensor> owners;
  for (const auto& [name, tensor] : model.state()) {
    const at::Tensor& values = owners.emplace_back(tensor.contiguous());
    weights.push_back({name, DataTypeOf(values), values.sizes().vec(), values.data_ptr()});
  }
  Check(WriteSafetensors(folder + "/weights.safetensors", weights, {{"format", "pt"}}));
  Check(WriteSafetensors(folder + "/values.safetensors",
                         {{"x", DataTypeOf(raw), raw.sizes().vec(), raw.data_ptr()},
                          {"y", DataTypeOf(y), y.sizes().vec(), y.data_ptr()}},
                         {}));
  Json json{
      {"format", "cyxwiz-model"},
      {"version", 1},
      {"weights", "weights.safetensors"},
      {"model", spec::ModelToJson(spec)},
      {"dataset", dataset},
      {"input", {{"type", bytes ? "uint8" : "float32"}, {"divisor", bytes ? divisor : 1.0f}}}};
  Check(WriteFileAtomically(folder + "/model.json", json.dump()));
}

// Whole numbers below `most` where the model begins with an embedding, else normal deviates.
at::Tensor Inputs(const spec::ModelSpec& spec) {
  std::vector<int64_t> shape = spec.input_shape;
  shape.insert(shape.begin(), kSamples);
  for (const spec::LayerSpec& layer : spec.layers) {
    const auto* embedding = std::get_if<spec::EmbeddingOptions>(&layer.options);
    if (embedding == nullptr) continue;
    return at::empty(shape).uniform_(0, static_cast<double>(embedding->input_dim)).floor_();
  }
  return at::empty(shape).normal_();
}

void WriteCase(const std::string& folder, const Json& one) {
  spec::Problems problems;
  spec::CheckedModel model = spec::CheckModel(one["model"].dump(), nullptr, false, &problems);
  if (!model.complete) throw std::runtime_error(problems.ToString());
  at::manual_seed(1);
  Write(folder + "/" + one["name"].get<std::string>(), model.spec, "mock://random_data",
        Inputs(model.spec), 1);
}

at::Tensor FirstSamples(const data::Split& split, const spec::Shape& sample) {
  std::vector<int64_t> shape = sample;
  shape.insert(shape.begin(), std::min(kSamples, split.samples));
  if (const auto* bytes = std::get_if<std::vector<uint8_t>>(&split.features)) {
    return at::from_blob(const_cast<uint8_t*>(bytes->data()), shape, at::kByte).clone();
  }
  const auto& floats = std::get<std::vector<float>>(split.features);
  return at::from_blob(const_cast<float*>(floats.data()), shape, at::kFloat).clone();
}

void WriteExample(const std::string& folder, const std::string& path, const std::string& text) {
  spec::Problems problems;
  std::optional<spec::JobFile> file = spec::ParseJobFile(text, &problems);
  if (!file) throw std::runtime_error(problems.ToString());
  data::Roots roots({"/usr/share/datasets"});
  data::FileInspector inspector(roots, /*must_see=*/false);
  std::optional<spec::JobSpec> job = spec::CheckJob(file->description, &inspector, &problems);
  if (!job || !job->dataset) {
    std::fprintf(stderr, "write_cases: %s is left out: its data is not here\n", path.c_str());
    return;
  }
  data::Dataset dataset = Checked(data::Load(job->dataset_uri, roots));
  Write(folder + "/" + std::filesystem::path(path).stem().string(), job->model,
        job->dataset_uri.text, FirstSamples(dataset.test, job->model.input_shape),
        dataset.test.scale.divisor);
}

int Main(int argc, char** argv) {
  const std::string folder = argv[1];
  for (int i = 2; i < argc; ++i) {
    const std::string text = Checked(ReadFile(argv[i]));
    Json json = Json::parse(text);
    if (!json.is_array()) {
      WriteExample(folder, argv[i], text);
      continue;
    }
    for (const Json& one : json) WriteCase(folder, one);
  }
  return 0;
}

}  // namespace
}  // namespace cyxwiz::runner

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: write_cases FOLDER CASES.json|JOB.json ...\n");
    return 2;
  }
  try {
    return cyxwiz::runner::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "write_cases: %s\n", error.what());
    return 1;
  }
}
