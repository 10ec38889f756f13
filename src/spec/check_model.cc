#include "spec/check_model.h"

#include <algorithm>
#include <cstdio>
#include <set>
#include <string>
#include <variant>

#include "spec/count.h"
#include "spec/layer_families.h"
#include "spec/model_reader.h"

namespace cyxwiz::spec {
namespace {

const char kPath[] = "$.model";
constexpr Key kType = {"type"};
constexpr Key kName = {"name"};
constexpr Key kInputShape = {"input_shape", "shape"};

// Collects the input's shape from the places that may give it; all that do must agree.
class InputShape {
 public:
  InputShape(const DatasetInfo* dataset, Problems* problems) : problems_(problems) {
    if (dataset == nullptr) return;
    shape_ = dataset->sample_shape;
    source_ = "a sample of the data set";
  }
  void Add(const std::string& path, const std::optional<Shape>& shape) {
    if (!shape) return;
    if (ElementCount(*shape) > kMaxSampleElements) {
      problems_->Add({path, "the input is too large",
                      "at most " + std::to_string(kMaxSampleElements) + " values a sample",
                      spec::ToString(*shape), ""});
    } else if (!shape_) {
      shape_ = *shape;
      source_ = path;
    } else if (*shape != *shape_) {
      problems_->Add({path, "the input shape differs from that of " + source_,
                      spec::ToString(*shape_), spec::ToString(*shape), Hint(*shape)});
    }
  }
  const std::optional<Shape>& shape() const { return shape_; }

 private:
  std::string Hint(const Shape& given) const {
    if (given.size() == 3 && shape_->size() == 3 &&
        Shape{given[2], given[0], given[1]} == *shape_) {
      return "shapes are channels first: [channels, height, width]";
    }
    if (given.size() == 1 && given[0] == ElementCount(*shape_)) {
      return "give the shape of a sample and begin with {\"type\": \"flatten\"}";
    }
    return "leave it out: it is taken from the data set";
  }

  Problems* const problems_;
  std::optional<Shape> shape_;
  std::string source_;
};

// Infers the shapes of the steps of one model, one after the other.
class Inference {
 public:
  Inference(CheckedModel* result, ModelReader* reader, std::optional<Shape> input,
            const DatasetInfo* dataset)
      : result_(result), reader_(reader), input_(std::move(input)), dataset_(dataset) {}

  void Run(const std::vector<ModelStep>& steps) {
    for (const ModelStep& step : steps) {
      shapes_.emplace_back();
      as_in_data_.push_back(false);
      if (step.layer->kind != nullptr) Infer(step);
      reader_->Flush(step);
    }
  }
  // Of the last step; unknown after a problem.
  std::optional<Shape> output() const { return shapes_.empty() ? std::nullopt : shapes_.back(); }

 private:
  const std::optional<Shape>& ShapeOf(int value) const {
    return value == kModelInput ? input_ : shapes_[static_cast<size_t>(value)];
  }

  void Infer(const ModelStep& step) {
    const WrittenLayer& written = *step.layer;
    const LayerKind& kind = *written.kind;
    ObjectReader& reader = *written.reader;
    Shapes inputs;
    bool as_in_data = true;
    for (int value : step.inputs) {
      if (!ShapeOf(value)) return;
      inputs.push_back(*ShapeOf(value));
      as_in_data = as_in_data && (value == kModelInput || as_in_data_[static_cast<size_t>(value)]);
    }
    as_in_data_.back() = as_in_data && kind.traits.moves_values;
    // What follows from a default in place of a wrong option would only confuse.
    if (written.wrong) {
      if (kind.infer == InferSame) shapes_.back() = inputs[0];
      return;
    }

    // The first layer's input_shape has been taken as the input's.
    if (step.inputs[0] != kModelInput && written.given_input && *written.given_input != inputs[0]) {
      reader.Refuse({"input_shape"}, "differs from the output of the layer before",
                    spec::ToString(inputs[0]), "leave it out: it is inferred");
    }
    if (kind.traits.takes_whole_numbers && !as_in_data) {
      reader.RefuseObject("the layer takes whole numbers, which the layers before do not give",
                          "the model's input, flatten, reshape or permute before it", "",
                          "put it first");
      return;
    }
    if (kind.traits.takes_whole_numbers && !CheckWholeNumbers(written.options, reader)) return;
    if (step.residual && inputs[0] != inputs[1]) {
      reader.RefuseObject("a residual block must keep the shape of its input",
                          spec::ToString(inputs[1]), spec::ToString(inputs[0]),
                          "use padding and as many filters or units, or leave residual out and end "
                          "the block with an add of your own");
      return;
    }
    std::optional<Shape> output = kind.infer(written.options, inputs, reader);
    if (!output) return;
    if (ElementCount(*output) > kMaxSampleElements) {
      reader.RefuseObject("the layer's output is too large",
                          "at most " + std::to_string(kMaxSampleElements) + " values a sample",
                          spec::ToString(*output));
      return;
    }
    shapes_.back() = output;
    if (EndsWithSoftmax(written) && output->size() > 2) {
      reader.RefuseObject("softmax needs a flat input or a sequence", "[features]",
                          spec::ToString(*output), "add {\"type\": \"flatten\"} before");
    }
    if (written.given_output && *written.given_output != *output) {
      reader.Refuse({"output_shape"}, "is not what the layer gives", spec::ToString(*output),
                    "leave it out: it is inferred");
    }
    AddLayer(step, std::move(inputs), *output);
  }

  bool CheckSeen(const DatasetInfo::Seen& seen, const LayerOptions& options,
                 ObjectReader& reader) const {
    const auto* embedding = std::get_if<EmbeddingOptions>(&options);
    if (embedding == nullptr) return true;
    const double end = static_cast<double>(embedding->input_dim);
    if (!seen.fraction && seen.least >= 0 && seen.greatest < end) return true;
    char found[64];
    if (seen.fraction) {
      std::snprintf(found, sizeof found, "%.9g", *seen.fraction);
    } else {
      std::snprintf(found, sizeof found, "%.9g to %.9g", seen.least, seen.greatest);
    }
    reader.RefuseObject("the data has numbers that the layer does not take",
                        "whole numbers from 0 to " + std::to_string(embedding->input_dim - 1),
                        found,
                        seen.fraction || seen.least < 0 ? "correct the data" : "raise input_dim");
    return false;
  }

  // What the data holds, as far as that is known.
  bool CheckWholeNumbers(const LayerOptions& options, ObjectReader& reader) const {
    using Values = DatasetInfo::Values;
    const Values values = dataset_ == nullptr ? Values::kAny : dataset_->values;
    if (values != Values::kParts && values != Values::kAround)
      return dataset_ == nullptr || !dataset_->seen || CheckSeen(*dataset_->seen, options, reader);
    reader.RefuseObject(
        "the layer takes whole numbers, which the data does not have",
        "text, or a table or an array of whole numbers that is not normalised",
        values == Values::kParts ? "bytes that become numbers from 0 to 1" : "real numbers",
        values == Values::kParts ? "store an array of whole numbers as i4" : "");
    return false;
  }

  static bool EndsWithSoftmax(const WrittenLayer& layer) {
    const auto* options = std::get_if<ActivationOptions>(&layer.options);
    return layer.activation == Activation::kSoftmax ||
           (options != nullptr && options->activation == Activation::kSoftmax);
  }

  void AddLayer(const ModelStep& step, Shapes inputs, const Shape& output) {
    const WrittenLayer& written = *step.layer;
    LayerSpec layer;
    layer.name = step.name;
    layer.type = written.kind->type;
    layer.options = written.options;
    layer.activation = written.activation;
    layer.inputs = step.inputs;
    layer.input_shapes = std::move(inputs);
    layer.output_shape = output;
    layer.parameters = ParametersOf(layer);
    layer.flops = CostOf(layer).flops;
    if (!step.residual) {
      written.reader->Matches({"parameters"}, layer.parameters, "the layer");
      CheckNames(layer, written);
    }
    result_->spec.parameters = Sum(result_->spec.parameters, layer.parameters);
    result_->spec.flops = Sum(result_->spec.flops, layer.flops);
    result_->paths.push_back(written.path);
    result_->spec.layers.push_back(std::move(layer));
  }

  // A layer "a" with a tensor "b.weight" and a layer "a.b" with a tensor "weight" go not together.
  void CheckNames(const LayerSpec& layer, const WrittenLayer& written) {
    bool unique = layer_names_.insert(layer.name).second;
    for (const TensorSpec& tensor : TensorsOf(layer)) {
      unique = tensor_names_.insert(layer.name + "." + tensor.name).second && unique;
    }
    if (unique) return;
    written.reader->RefuseObject(
        "the names of this layer and its tensors are also those of another", "a name of its own",
        Shown(std::string_view(layer.name)), "give another name");
  }

  CheckedModel* const result_;
  ModelReader* const reader_;
  const std::optional<Shape> input_;
  const DatasetInfo* const dataset_;          // null: not seen
  std::vector<std::optional<Shape>> shapes_;  // of the steps' outputs
  std::vector<bool> as_in_data_;              // whether a step's output holds values of the data
  std::set<std::string> layer_names_, tensor_names_;
};

// The model's "inputs": {"image": [1, 28, 28]} or ["image"]. Returns the input's name, or "".
std::string ReadInputs(ObjectReader& reader, InputShape* input, Problems* problems) {
  static constexpr Key kInputs = {"inputs"};
  const Json* inputs = reader.Find(kInputs);
  if (inputs == nullptr) return "";
  bool good = (inputs->is_object() && !inputs->empty()) ||
              (inputs->is_array() && !inputs->empty() &&
               std::all_of(inputs->begin(), inputs->end(),
                           [](const Json& name) { return name.is_string(); }));
  if (!good) {
    reader.Refuse(kInputs, "must name the input", "{\"image\": [1, 28, 28]}",
                  "leave it out: \"input\" is what the first layer gets");
    return "";
  }
  if (inputs->size() > 1) {
    reader.Refuse(kInputs, "are more than the data set has", "one input",
                  "a sample has one tensor of features");
    return "";
  }
  if (inputs->is_array()) return inputs->front().get<std::string>();
  const std::string name = inputs->begin().key();
  if (inputs->begin()->is_null()) return name;
  ObjectReader shapes(*inputs, Member(kPath, "inputs"), problems);
  input->Add(Member(Member(kPath, "inputs"), name), shapes.Shape({name}));
  return name;
}

}  // namespace

std::string ToString(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

CheckedModel CheckModel(const std::string& definition, const DatasetInfo* dataset,
                        bool dataset_refused, Problems* problems) {
  CheckedModel result;
  const size_t problems_before = problems->count();
  const std::string form = "{\"layers\": [{\"type\": \"dense\", \"units\": 10}]}";
  if (definition.empty()) {
    problems->Add({kPath, "the job has no model", form, "nothing", ""});
    return result;
  }
  if (definition.size() > kMaxModelBytes) {
    problems->Add({kPath, "the model is too large",
                   "at most " + std::to_string(kMaxModelBytes) + " bytes of JSON",
                   std::to_string(definition.size()) + " bytes", ""});
    return result;
  }
  Result<Json> parsed = ParseJson(definition, "the model");
  if (!parsed.ok()) {
    problems->Add(
        {kPath, parsed.status().message(), form, Shown(std::string_view(definition)), ""});
    return result;
  }
  if (!parsed->is_object()) {
    problems->Add({kPath, "the model is not an object", form, Shown(*parsed), ""});
    return result;
  }

  ObjectReader reader(*parsed, kPath, problems);
  static constexpr Key kLayers = {"layers"};
  const Json* layers = reader.Find(kLayers);
  auto given_input = reader.Shape({"input_shape"});
  auto given_output = reader.Shape({"output_shape"});
  const Json* outputs = reader.Find({"outputs"});
  InputShape input(dataset, problems);
  input.Add(Member(kPath, "input_shape"), given_input);
  std::string input_name = ReadInputs(reader, &input, problems);
  reader.Whole({"version"}, kModelVersion, kModelVersion);
  reader.Whole({"parameters"}, 0, kMaxParameters);
  reader.RefuseUnknown();
  if (layers == nullptr || !layers->is_array() || layers->empty()) {
    reader.Refuse(kLayers, "must list the layers", "an array of at least one layer",
                  "write " + form);
    return result;
  }
  if (int64_t count = ModelReader::CountLayers(*layers); count > int64_t{kMaxLayers}) {
    problems->Add({Member(kPath, "layers"), "the model has too many layers",
                   "at most " + std::to_string(kMaxLayers), std::to_string(count),
                   "a block counts as its layers, as often as it is repeated"});
    return result;
  }

  const std::string layers_path = Member(kPath, "layers"), first_path = layers_path + "[0]";
  size_t first = 0;
  if (IsInputEntry(layers->front())) {
    first = 1;
    ObjectReader entry(layers->front(), first_path, problems);
    entry.Find(kType);
    if (auto name = entry.Text(kName); name && input_name.empty()) input_name = *name;
    auto shape = entry.Shape(kInputShape);
    if (entry.Find(kInputShape) == nullptr) {
      entry.Refuse({"shape"}, "is missing", "the shape of a sample, such as [1, 28, 28]");
    }
    entry.RefuseUnknown();
    input.Add(first_path, shape);
    if (layers->size() == 1) {
      reader.Refuse(kLayers, "must list the layers", "a layer after the input entry");
    }
  } else if (layers->front().is_object()) {
    // A wrong shape is reported where the layer is read.
    Problems ignored;
    input.Add(first_path + ".input_shape",
              ObjectReader(layers->front(), first_path, &ignored).Shape({"input_shape"}));
  }
  if (!input.shape() && !dataset_refused && problems->count() == problems_before) {
    problems->Add({kPath, "the shape of the input is not known: the data is not visible from here",
                   "\"input_shape\"", "nothing",
                   "add \"input_shape\" to the model, such as \"input_shape\": [1, 28, 28]"});
  }

  if (layers->size() == first) return result;

  ModelReader model(problems);
  auto steps = model.Read(*layers, first, input_name, outputs, layers_path);
  if (!steps) return result;
  Inference inference(&result, &model, input.shape(), dataset);
  inference.Run(*steps);
  const std::optional<Shape> output = inference.output();
  if (!output || problems->count() != problems_before) return result;

  ModelSpec& spec = result.spec;
  spec.input_shape = *input.shape();
  spec.output_shape = *output;
  if (given_output && *given_output != spec.output_shape) {
    reader.Refuse({"output_shape"}, "is not what the model gives", ToString(spec.output_shape),
                  "leave it out: it is inferred");
  }
  reader.Matches({"parameters"}, spec.parameters, "the model");
  if (spec.parameters == 0) {
    problems->Add({Member(kPath, "layers"), "the model has nothing to train",
                   "a layer with parameters", "none", "add a dense layer"});
  }
  if (spec.parameters > kMaxParameters) {
    problems->Add({kPath, "the model has too many parameters",
                   "at most " + std::to_string(kMaxParameters), std::to_string(spec.parameters),
                   ""});
  }
  result.complete = problems->count() == problems_before;
  return result;
}

}  // namespace cyxwiz::spec
