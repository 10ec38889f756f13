#include "spec/check_model.h"

#include <algorithm>
#include <set>

#include "spec/count.h"
#include "spec/layers.h"
#include "spec/object_reader.h"

namespace cyxwiz::spec {
namespace {

const char kPath[] = "$.model";
constexpr size_t kMaxLayerName = 64;
constexpr Key kType = {"type"};
constexpr Key kName = {"name"};
constexpr Key kInputShape = {"input_shape", "shape"};

bool IsInputEntry(const Json& layer) {
  if (!layer.is_object()) return false;
  auto type = layer.find("type");
  if (type == layer.end() || !type->is_string()) return false;
  const std::string& name = type->get_ref<const std::string&>();
  return SameName(name, "input") || SameName(name, "inputlayer");
}

// A module's name in libtorch, and the first part of its tensors' names.
bool IsLayerName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxLayerName &&
         name.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
             "0123456789_-") == std::string_view::npos;
}

std::string AllTypes() {
  std::string text = "one of ";
  for (const LayerKind& kind : LayerKinds()) text += std::string(kind.type) + ", ";
  return text + "input";
}

std::string NearestType(std::string_view name) {
  std::vector<std::string> names = {"input"};
  for (const LayerKind& kind : LayerKinds()) {
    names.emplace_back(kind.type);
    for (std::string_view alias : kind.aliases) names.emplace_back(alias);
  }
  return DidYouMean(name, names);
}

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

// Walks the layers of one model.
class Walker {
 public:
  Walker(CheckedModel* result, std::optional<Shape> input, Problems* problems)
      : result_(result), shape_(std::move(input)), problems_(problems) {}

  // False when anything was wrong.
  bool Walk(const Json& layers) {
    const size_t problems_before = problems_->count();
    TakeGivenNames(layers);
    for (size_t i = result_->first_layer; i < layers.size(); ++i) {
      ReadLayer(layers[i], std::string(kPath) + ".layers[" + std::to_string(i) + "]",
                i == result_->first_layer);
    }
    return problems_->count() == problems_before;
  }
  const std::optional<Shape>& shape() const { return shape_; }

 private:
  // Given names come first, so that a generated one never takes a name that a later layer is given.
  void TakeGivenNames(const Json& layers) {
    for (const Json& layer : layers) {
      if (!layer.is_object()) continue;
      auto name = layer.find("name");
      if (name != layer.end() && name->is_string()) taken_.insert(name->get<std::string>());
    }
  }

  void ReadLayer(const Json& json, const std::string& path, bool first) {
    const std::optional<Shape> input = std::exchange(shape_, std::nullopt);
    if (!json.is_object()) {
      problems_->Add({path, "the layer is not an object", "an object", Shown(json),
                      "write {\"type\": \"dense\", \"units\": 10}"});
      return;
    }
    ObjectReader reader(json, path, problems_);
    const LayerKind* kind = FindKind(reader);
    if (kind == nullptr) return;

    LayerSpec layer;
    layer.type = kind->type;
    layer.name = ReadName(reader, layer.type);
    layer.options = kind->parse(reader);
    ReadActivation(reader, &layer);
    auto given_input = reader.Shape({"input_shape"});
    auto given_output = reader.Shape({"output_shape"});
    reader.Whole({"parameters"}, 0, kMaxParameters);
    reader.RefuseUnknown();
    if (!input) return;

    // The first layer's input_shape has been taken as the input's.
    if (!first && given_input && *given_input != *input) {
      reader.Refuse({"input_shape"}, "differs from the output of the layer before",
                    spec::ToString(*input), "leave it out: it is inferred");
    }
    shape_ = kind->infer(layer.options, *input, reader);
    if (!shape_) return;
    if (ElementCount(*shape_) > kMaxSampleElements) {
      reader.RefuseObject("the layer's output is too large",
                          "at most " + std::to_string(kMaxSampleElements) + " values a sample",
                          spec::ToString(*shape_));
      shape_.reset();
      return;
    }
    bool softmax = layer.activation == Activation::kSoftmax;
    if (auto* options = std::get_if<ActivationOptions>(&layer.options)) {
      softmax = softmax || options->activation == Activation::kSoftmax;
    }
    if (softmax && shape_->size() != 1) {
      reader.RefuseObject("softmax needs a flat input", "[features]", spec::ToString(*shape_),
                          "add {\"type\": \"flatten\"} before");
    }
    if (given_output && *given_output != *shape_) {
      reader.Refuse({"output_shape"}, "is not what the layer gives", spec::ToString(*shape_),
                    "leave it out: it is inferred");
    }
    layer.input_shape = *input;
    layer.output_shape = *shape_;
    LayerCost cost = CostOf(layer);
    layer.parameters = cost.parameters;
    layer.flops = cost.flops;
    reader.Matches({"parameters"}, layer.parameters, "the layer");
    result_->spec.parameters = Sum(result_->spec.parameters, cost.parameters);
    result_->spec.flops = Sum(result_->spec.flops, cost.flops);
    result_->spec.layers.push_back(std::move(layer));
  }

  const LayerKind* FindKind(ObjectReader& reader) {
    const Json* type = reader.Find(kType);
    if (type == nullptr || !type->is_string()) {
      reader.Refuse(
          kType, type == nullptr ? "is missing" : "is not a text", AllTypes(),
          reader.Find({"class_name"}) != nullptr
              ? "write {\"type\": \"dense\", \"units\": 10}, without class_name and config"
              : "");
      return nullptr;
    }
    const std::string& name = type->get_ref<const std::string&>();
    if (const LayerKind* kind = FindLayerKind(name)) return kind;
    // Keras's layer of that name.
    if (SameName(name, "activation")) {
      auto activation = reader.OneOf({"activation"}, ActivationChoices());
      if (activation && *activation != static_cast<int>(Activation::kNone)) {
        return FindLayerKind(ActivationName(static_cast<Activation>(*activation)));
      }
      if (reader.Find({"activation"}) == nullptr) {
        reader.Refuse({"activation"}, "is missing", "relu, sigmoid, tanh, gelu or softmax");
      } else if (activation) {
        reader.Refuse({"activation"}, "does nothing", "relu, sigmoid, tanh, gelu or softmax",
                      "leave the layer out");
      }
      return nullptr;
    }
    if (IsInputEntry(Json{{"type", name}})) {
      reader.RefuseObject("the input entry must be the first layer", "$.model.layers[0]",
                          reader.path());
      return nullptr;
    }
    bool full = problems_->count() >= Problems::kMost;
    reader.Refuse(kType, "is no layer that exists", AllTypes(), full ? "" : NearestType(name));
    return nullptr;
  }

  std::string ReadName(ObjectReader& reader, const std::string& type) {
    auto name = reader.Text(kName);
    if (!name) {
      std::string made;
      do {
        made = type + "_" + std::to_string(++made_[type]);
      } while (taken_.contains(made));
      return made;
    }
    if (!IsLayerName(*name)) {
      reader.Refuse(kName, "cannot name a layer",
                    "1 to 64 of the letters A-Z and a-z, digits, _ and -");
    } else if (!used_.insert(*name).second) {
      reader.Refuse(kName, "is the name of an earlier layer", "a name of its own");
    }
    return *name;
  }

  // Every layer may have one; null is none.
  void ReadActivation(ObjectReader& reader, LayerSpec* layer) {
    static constexpr Key kActivation = {"activation"};
    const Json* value = reader.Find(kActivation);
    if (value == nullptr || value->is_null()) return;
    const Json* type = reader.Find(kType);
    if (SameName(type->get_ref<const std::string&>(), "activation")) return;
    if (auto activation = reader.OneOf(kActivation, ActivationChoices())) {
      layer->activation = static_cast<Activation>(*activation);
    }
  }

  CheckedModel* const result_;
  std::optional<Shape> shape_;  // output of the layer before; unknown after a problem
  Problems* const problems_;
  std::set<std::string> taken_, used_;
  std::map<std::string, int64_t> made_;
};

}  // namespace

std::string ToString(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

std::string CheckedModel::PathOf(size_t i) const {
  return std::string(kPath) + ".layers[" + std::to_string(first_layer + i) + "]";
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
  reader.Whole({"version"}, kModelVersion, kModelVersion);
  reader.Whole({"parameters"}, 0, kMaxParameters);
  reader.RefuseUnknown();
  if (layers == nullptr || !layers->is_array() || layers->empty()) {
    reader.Refuse(kLayers, "must list the layers", "an array of at least one layer",
                  "write " + form);
    return result;
  }
  if (layers->size() > kMaxLayers) {
    problems->Add({Member(kPath, "layers"), "the model has too many layers",
                   "at most " + std::to_string(kMaxLayers), std::to_string(layers->size()), ""});
    return result;
  }

  InputShape input(dataset, problems);
  input.Add(Member(kPath, "input_shape"), given_input);
  const std::string first_path = result.PathOf(0);
  if (IsInputEntry(layers->front())) {
    result.first_layer = 1;
    ObjectReader entry(layers->front(), first_path, problems);
    entry.Find(kType);
    entry.Text(kName);
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

  Walker walker(&result, input.shape(), problems);
  result.complete =
      walker.Walk(*layers) && walker.shape().has_value() && problems->count() == problems_before;
  if (!result.complete) return result;

  ModelSpec& spec = result.spec;
  spec.input_shape = *input.shape();
  spec.output_shape = *walker.shape();
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
