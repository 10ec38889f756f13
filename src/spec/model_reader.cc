#include "spec/model_reader.h"

#include <algorithm>
#include <map>
#include <set>

#include "spec/count.h"

namespace cyxwiz::spec {
namespace {

constexpr size_t kMaxLayerName = 256;
constexpr Key kType = {"type"};
constexpr Key kName = {"name"};
constexpr Key kInputs = {"inputs"};
constexpr Key kLayers = {"layers"};
constexpr Key kActivation = {"activation"};
constexpr char kInput[] = "input";
constexpr char kBlock[] = "block";

bool HasType(const Json& layer, std::string_view type) {
  if (!layer.is_object()) return false;
  auto given = layer.find("type");
  return given != layer.end() && given->is_string() &&
         SameName(given->get_ref<const std::string&>(), type);
}

// The first part of the layer's tensors' names: parts of letters and so on, joined by dots.
bool IsLayerName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxLayerName && name.front() != '.' &&
         name.back() != '.' && name.find("..") == std::string_view::npos &&
         name.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
             "0123456789_-.") == std::string_view::npos;
}

std::string AllTypes() {
  std::string text = "one of ";
  for (const LayerKind& kind : LayerKinds()) text += std::string(kind.type) + ", ";
  return text + "block, input";
}

std::string NearestType(std::string_view name) {
  std::vector<std::string> names = {kInput, kBlock};
  for (const LayerKind& kind : LayerKinds()) {
    names.emplace_back(kind.type);
    for (std::string_view alias : kind.aliases) names.emplace_back(alias);
  }
  return DidYouMean(name, names);
}

// The texts of a text or an array of them; nullopt with a problem when it is anything else.
std::optional<std::vector<std::string>> Texts(const Json& value, const std::string& path,
                                              Problems* problems) {
  std::vector<std::string> texts;
  bool good = value.is_string() || (value.is_array() && !value.empty());
  if (value.is_string()) texts.push_back(value.get<std::string>());
  for (size_t i = 0; good && value.is_array() && i < value.size(); ++i) {
    good = value[i].is_string();
    if (good) texts.push_back(value[i].get<std::string>());
  }
  if (good) return texts;
  problems->Add({path, "names of layers are missing", "a name, or an array of names", Shown(value),
                 "write [\"conv2d_1\"]"});
  return std::nullopt;
}

}  // namespace

bool IsInputEntry(const Json& layer) {
  return HasType(layer, kInput) || HasType(layer, "inputlayer");
}

// The names of one list.
class ModelReader::Names {
 public:
  // Given names come first, so that a generated one never takes a name that a later layer is given.
  Names(const Json& layers, const std::string& input_name) {
    taken_.insert(kInput);
    taken_.insert(input_name);
    for (const Json& layer : layers) {
      if (!layer.is_object()) continue;
      auto name = layer.find("name");
      if (name != layer.end() && name->is_string()) taken_.insert(name->get<std::string>());
    }
    used_.insert(kInput);
    used_.insert(input_name);
  }

  std::string Read(ObjectReader& reader, const std::string& type) {
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
                    "1 to 256 of the letters A-Z and a-z, digits, _ and -, with dots between");
    } else if (!used_.insert(*name).second) {
      if (*name == kInput) {
        reader.Refuse(kName, "is the name of what the first layer gets", "another name");
      } else {
        reader.Refuse(kName, "is the name of an earlier layer", "a name of its own");
      }
    }
    return *name;
  }

 private:
  std::set<std::string> taken_, used_;
  std::map<std::string, int64_t> made_;
};

int64_t ModelReader::CountLayers(const Json& layers) {
  if (!layers.is_array()) return 1;
  int64_t count = 0;
  for (const Json& layer : layers) {
    int64_t one = 1;
    if (HasType(layer, kBlock) && layer.contains("layers")) {
      const Json& repeat = layer.value("repeat", Json(1));
      int64_t times = 1;
      if (repeat.is_number_unsigned()) {
        times = static_cast<int64_t>(
            std::min(repeat.get<uint64_t>(), static_cast<uint64_t>(kUncountable)));
      }
      int64_t inside = CountLayers(layer["layers"]);
      if (layer.value("residual", Json()) == true) inside = Sum(inside, 1);
      one = Product(std::max<int64_t>(times, 1), std::max<int64_t>(inside, 1));
    }
    count = Sum(count, one);
  }
  return count;
}

void ModelReader::Flush(bool again) {
  const std::vector<Problem>& found = found_.list();
  for (size_t i = 0; i < found_.count(); ++i) {
    const Problem& problem = found[std::min(i, found.size() - 1)];
    if (!again || !problems_->Has(problem.path)) problems_->Add(problem);
  }
  found_ = Problems();
}

void ModelReader::Flush(const ModelStep& step) { Flush(step.again); }

std::optional<std::vector<ModelStep>> ModelReader::Read(const Json& layers, size_t first,
                                                        const std::string& input_name,
                                                        const Json* outputs,
                                                        const std::string& path) {
  List list;
  if (!ReadList(layers, first, input_name, outputs, path, &list)) return std::nullopt;
  std::vector<ModelStep> steps;
  Expand(list, "", kModelInput, &steps);
  std::set<WrittenLayer*> seen;
  for (ModelStep& step : steps) step.again = !seen.insert(step.layer).second;
  return steps;
}

bool ModelReader::ReadList(const Json& layers, size_t first, const std::string& input_name,
                           const Json* outputs, const std::string& path, List* list) {
  Names names(layers, input_name);
  for (size_t i = first; i < layers.size(); ++i) {
    Entry& entry = list->entries.emplace_back();
    entry.path = path + "[" + std::to_string(i) + "]";
    ReadEntry(layers[i], &names, &entry);
    Flush(/*again=*/false);
  }
  return Connect(layers, first, input_name, outputs, path, list) && Order(list);
}

void ModelReader::ReadEntry(const Json& json, Names* names, Entry* entry) {
  layers_.push_back(std::make_unique<WrittenLayer>());
  WrittenLayer* layer = entry->layer = layers_.back().get();
  layer->path = entry->path;
  layer->wrong = true;
  if (!json.is_object()) {
    found_.Add({entry->path, "the layer is not an object", "an object", Shown(json),
                "write {\"type\": \"dense\", \"units\": 10}"});
    return;
  }
  layer->reader = std::make_unique<ObjectReader>(json, entry->path, &found_);
  ObjectReader& reader = *layer->reader;
  reader.Find(kInputs);
  if (HasType(json, kBlock)) {
    reader.Find(kType);
    entry->name = names->Read(reader, kBlock);
    ReadBlock(reader, json, entry);
    return;
  }
  layer->kind = FindKind(reader);
  if (layer->kind == nullptr) {
    if (auto name = json.find("name"); name != json.end() && name->is_string()) {
      entry->name = name->get<std::string>();
    }
    return;
  }
  entry->name = names->Read(reader, std::string(layer->kind->type));
  OptionList options(&reader);
  layer->options = layer->kind->read(options);
  if (!layer->kind->traits.own_activation) ReadActivation(reader, layer);
  layer->given_input = reader.Shape({"input_shape"});
  layer->given_output = reader.Shape({"output_shape"});
  reader.Whole({"parameters"}, 0, kMaxParameters);
  reader.RefuseUnknown();
  layer->wrong = !found_.empty();
}

void ModelReader::ReadBlock(ObjectReader& reader, const Json& json, Entry* entry) {
  auto repeat = reader.Whole({"repeat"}, 1, static_cast<int64_t>(kMaxLayers));
  bool residual = reader.Bool({"residual"}).value_or(false);
  Activation activation = Activation::kNone;
  if (const Json* given = reader.Find(kActivation); given != nullptr && !given->is_null()) {
    activation =
        static_cast<Activation>(reader.OneOf(kActivation, ActivationChoices()).value_or(0));
    if (!residual) {
      reader.Refuse(kActivation, "needs \"residual\": true", "none",
                    "give it to the block's last layer");
    }
  }
  const Json* layers = reader.Find(kLayers);
  const Json* outputs = reader.Find({"outputs"});
  if (layers == nullptr || !layers->is_array() || layers->empty()) {
    reader.Refuse(kLayers, "must list the layers", "an array of at least one layer",
                  "write {\"type\": \"block\", \"layers\": [{\"type\": \"relu\"}]}");
    layers = nullptr;
  }
  reader.RefuseUnknown();
  entry->repeat = repeat.value_or(0);
  Flush(/*again=*/false);
  if (residual) {
    layers_.push_back(std::make_unique<WrittenLayer>());
    entry->residual = layers_.back().get();
    entry->residual->kind = FindLayerKind("add");
    entry->residual->path = entry->path;
    entry->residual->options = AddOptions();
    entry->residual->activation = activation;
    entry->residual->reader = std::make_unique<ObjectReader>(json, entry->path, &found_);
  }
  entry->list = std::make_unique<List>();
  if (layers == nullptr ||
      !ReadList(*layers, 0, "", outputs, Member(entry->path, "layers"), entry->list.get())) {
    entry->list.reset();
  }
}

const LayerKind* ModelReader::FindKind(ObjectReader& reader) {
  const Json* type = reader.Find(kType);
  if (type == nullptr || !type->is_string()) {
    reader.Refuse(kType, type == nullptr ? "is missing" : "is not a text", AllTypes(),
                  reader.Find({"class_name"}) != nullptr
                      ? "write {\"type\": \"dense\", \"units\": 10}, without class_name and config"
                      : "");
    return nullptr;
  }
  const std::string& name = type->get_ref<const std::string&>();
  if (const LayerKind* kind = FindLayerKind(name)) return kind;
  // Keras's layer of that name.
  if (SameName(name, "activation")) {
    auto activation = reader.OneOf(kActivation, ActivationChoices());
    if (activation && *activation != static_cast<int>(Activation::kNone)) {
      return FindLayerKind(ActivationName(static_cast<Activation>(*activation)));
    }
    if (reader.Find(kActivation) == nullptr) {
      reader.Refuse(kActivation, "is missing", "one of " + ActivationNames());
    } else if (activation) {
      reader.Refuse(kActivation, "does nothing", "one of " + ActivationNames(),
                    "leave the layer out");
    }
    return nullptr;
  }
  if (IsInputEntry(Json{{"type", name}})) {
    reader.RefuseObject("the input entry must be the first layer", "$.model.layers[0]",
                        reader.path());
    return nullptr;
  }
  bool full = problems_->count() + found_.count() >= Problems::kMost;
  reader.Refuse(kType, "is no layer that exists", AllTypes(), full ? "" : NearestType(name));
  return nullptr;
}

// Every layer may have one; null is none.
void ModelReader::ReadActivation(ObjectReader& reader, WrittenLayer* layer) {
  const Json* value = reader.Find(kActivation);
  if (value == nullptr || value->is_null()) return;
  if (SameName(reader.Find(kType)->get_ref<const std::string&>(), "activation")) return;
  if (auto activation = reader.OneOf(kActivation, ActivationChoices())) {
    layer->activation = static_cast<Activation>(*activation);
  }
}

// Finds the entries that each entry takes, and the list's output.
bool ModelReader::Connect(const Json& layers, size_t first, const std::string& input_name,
                          const Json* outputs, const std::string& path, List* list) {
  const size_t problems_before = problems_->count();
  std::map<std::string, size_t> places;
  std::vector<std::string> names = {kInput};
  if (!input_name.empty()) places[input_name] = kListInput;
  places[kInput] = kListInput;
  for (size_t i = 0; i < list->entries.size(); ++i) {
    const std::string& name = list->entries[i].name;
    if (name.empty()) continue;
    places.emplace(name, i);
    names.push_back(name);
  }
  auto place_of = [&](const std::string& name, const std::string& where) -> std::optional<size_t> {
    auto place = places.find(name);
    if (place != places.end()) return place->second;
    bool full = problems_->count() >= Problems::kMost;
    problems_->Add({where, "there is no layer of this name", "the name of a layer of the same list",
                    Shown(std::string_view(name)), full ? "" : DidYouMean(name, names)});
    return std::nullopt;
  };

  for (size_t i = 0; i < list->entries.size(); ++i) {
    Entry& entry = list->entries[i];
    const Json& json = layers[first + i];
    const std::string where = Member(entry.path, "inputs");
    const Json* given = json.is_object() && json.contains("inputs") ? &json["inputs"] : nullptr;
    if (given == nullptr) {
      entry.inputs = {i == 0 ? kListInput : i - 1};
    } else if (auto texts = Texts(*given, where, problems_)) {
      for (size_t k = 0; k < texts->size(); ++k) {
        std::string one = given->is_array() ? where + "[" + std::to_string(k) + "]" : where;
        if (auto place = place_of((*texts)[k], one)) entry.inputs.push_back(*place);
      }
      if (entry.inputs.size() < texts->size()) continue;
    } else {
      continue;
    }
    if (entry.layer->kind == nullptr && entry.list == nullptr) continue;
    const size_t most = entry.list != nullptr ? 1 : entry.layer->kind->traits.most_inputs;
    const std::string found = given == nullptr ? "nothing" : Shown(*given);
    if (most == 1 && entry.inputs.size() != 1) {
      problems_->Add({where, "the layer takes one input", "one name", found,
                      "join them with add, multiply or concatenate before"});
    } else if (most > 1 && (entry.inputs.size() < 2 || entry.inputs.size() > most)) {
      problems_->Add({where, "the layer joins several values",
                      "2 to " + std::to_string(most) + " names", found,
                      "write \"inputs\": [\"input\", \"conv2d_1\"]"});
    }
  }

  list->output = list->entries.size() - 1;
  // "$.model.layers" and "$.model.outputs" stand side by side.
  const std::string where = path.substr(0, path.rfind('.')) + ".outputs";
  if (outputs == nullptr) return problems_->count() == problems_before;
  auto texts = Texts(*outputs, where, problems_);
  if (texts && texts->size() > 1) {
    problems_->Add({where, "there is one loss, so there can be one output", "one name",
                    Shown(*outputs), "train a job for each, or join them with concatenate"});
  } else if (texts) {
    if (auto place = place_of(texts->front(), where)) {
      list->output = *place;
      if (*place == kListInput) {
        problems_->Add(
            {where, "the input cannot be the output", "the name of a layer", Shown(*outputs), ""});
      }
    }
  }
  return problems_->count() == problems_before;
}

// Orders the entries; problems when they go in a circle, or when one leads nowhere.
bool ModelReader::Order(List* list) {
  const size_t problems_before = problems_->count();
  const size_t count = list->entries.size();
  std::vector<bool> done(count), used(count);
  // As they are written, where that goes; each round places at least one.
  for (bool moved = true; moved;) {
    moved = false;
    for (size_t i = 0; i < count; ++i) {
      const auto& inputs = list->entries[i].inputs;
      if (done[i] || !std::all_of(inputs.begin(), inputs.end(), [&](size_t input) {
            return input == kListInput || done[input];
          })) {
        continue;
      }
      list->order.push_back(i);
      done[i] = moved = true;
    }
  }
  if (list->order.size() < count) {
    // Backwards from any that is left over, along inputs that are, one comes twice.
    auto left = static_cast<size_t>(std::find(done.begin(), done.end(), false) - done.begin());
    std::vector<size_t> way;
    while (std::find(way.begin(), way.end(), left) == way.end()) {
      way.push_back(left);
      for (size_t input : list->entries[left].inputs) {
        if (input != kListInput && !done[input]) {
          left = input;
          break;
        }
      }
    }
    way.erase(way.begin(), std::find(way.begin(), way.end(), left));
    std::string circle = list->entries[left].name;
    for (size_t i = way.size(); i-- > 0;) circle += " -> " + list->entries[way[i]].name;
    problems_->Add({Member(list->entries[left].path, "inputs"), "the layers go in a circle",
                    "inputs that come before", circle, "take one of these inputs out"});
    return false;
  }
  used[list->output] = true;
  for (size_t i = count; i-- > 0;) {
    const size_t place = list->order[i];
    const Entry& entry = list->entries[place];
    if (!used[place]) continue;
    for (size_t input : entry.inputs) {
      if (input != kListInput) used[input] = true;
    }
  }
  for (size_t i = 0; i < count; ++i) {
    if (used[i]) continue;
    problems_->Add(
        {list->entries[i].path, "nothing uses the output of the layer",
         "a layer that leads to " + Shown(std::string_view(list->entries[list->output].name)),
         Shown(std::string_view(list->entries[i].name)),
         "leave it out, or name it in the inputs of a later layer"});
  }
  return problems_->count() == problems_before;
}

// Appends the steps of the list; returns the value that it gives.
int ModelReader::Expand(const List& list, const std::string& prefix, int input,
                        std::vector<ModelStep>* steps) {
  std::vector<int> values(list.entries.size(), input);
  for (size_t place : list.order) {
    const Entry& entry = list.entries[place];
    std::vector<int> inputs;
    for (size_t i : entry.inputs) inputs.push_back(i == kListInput ? input : values[i]);
    if (entry.list == nullptr) {
      values[place] = static_cast<int>(steps->size());
      steps->push_back({entry.layer, prefix + entry.name, std::move(inputs)});
      continue;
    }
    int value = inputs[0];
    for (int64_t n = 0; n < std::max<int64_t>(entry.repeat, 1); ++n) {
      std::string name = prefix + entry.name;
      if (entry.repeat > 0) name += "." + std::to_string(n);
      const int before = value;
      value = Expand(*entry.list, name + ".", before, steps);
      if (entry.residual == nullptr) continue;
      steps->push_back({entry.residual, name + ".residual", {value, before}, false, true});
      value = static_cast<int>(steps->size()) - 1;
    }
    values[place] = value;
  }
  return values[list.output];
}

}  // namespace cyxwiz::spec
