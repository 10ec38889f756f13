// Reads the layers of a model's JSON, and writes its blocks out into one list of steps. What needs
// no shapes is checked here: types, options, names, and who takes whose output.
//
//   list   := [entry, ...]            each takes the output of the one before, or of its "inputs"
//   entry  := layer | block           names live in their list; "input" is what the list gets
//   block  := {"type": "block", "layers": list, "repeat": n, "residual": true}
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "spec/layers.h"

namespace cyxwiz::spec {

// A layer as it stands in the JSON.
struct WrittenLayer {
  const LayerKind* kind = nullptr;
  std::string path;  // "$.model.layers[2].layers[0]"
  LayerOptions options;
  Activation activation = Activation::kNone;
  std::optional<Shape> given_input, given_output;
  bool wrong = false;  // it has problems already
  // Its problems go to where the ModelReader collects them.
  std::unique_ptr<ObjectReader> reader;
};

// A layer of the model with its blocks written out; a written layer makes one in each repetition.
struct ModelStep {
  WrittenLayer* layer = nullptr;
  std::string name;
  std::vector<int> inputs;  // as in LayerSpec
  bool again = false;       // an earlier step has the same layer
  bool residual = false;    // the sum at the end of a residual block
};

// Used by one thread. The JSON and problems outlive it.
class ModelReader {
 public:
  explicit ModelReader(Problems* problems) : problems_(problems) {}

  // Layers of the list when its blocks are written out, however many those are. Any JSON.
  static int64_t CountLayers(const Json& layers);

  // Reads model["layers"] from entry `first` on. input_name: what the model's input is called
  // beside "input", or empty. outputs: the model's "outputs", may be null.
  // nullopt with problems when it cannot be told which layer takes what. Steps stand behind those
  // whose output they take; the last one gives the model's output. At most kMaxLayers.
  std::optional<std::vector<ModelStep>> Read(const Json& layers, size_t first,
                                             const std::string& input_name, const Json* outputs,
                                             const std::string& path);

  // Hands on the problems that were found with the layer of this step since the last call. Those of
  // an again repeated layer only when nothing was found at their place yet.
  void Flush(const ModelStep& step);

 private:
  struct List;
  struct Entry {
    std::string name, path;
    std::vector<size_t> inputs;  // places in the list; kListInput
    WrittenLayer* layer = nullptr;
    // A block.
    std::unique_ptr<List> list;
    int64_t repeat = 0;  // 0: not given, once
    WrittenLayer* residual = nullptr;
  };
  struct List {
    std::vector<Entry> entries;
    std::vector<size_t> order;  // from what gives to what takes
    size_t output = 0;
  };
  class Names;
  static constexpr size_t kListInput = static_cast<size_t>(-1);

  bool ReadList(const Json& layers, size_t first, const std::string& input_name,
                const Json* outputs, const std::string& path, List* list);
  void ReadEntry(const Json& json, Names* names, Entry* entry);
  void ReadBlock(ObjectReader& reader, const Json& json, Entry* entry);
  void ReadActivation(ObjectReader& reader, WrittenLayer* layer);
  const LayerKind* FindKind(ObjectReader& reader);
  bool Connect(const Json& layers, size_t first, const std::string& input_name, const Json* outputs,
               const std::string& path, List* list);
  bool Order(List* list);
  int Expand(const List& list, const std::string& prefix, int input, std::vector<ModelStep>* steps);
  void Flush(bool again);

  Problems* const problems_;
  Problems found_;  // where the readers of the layers put theirs
  std::vector<std::unique_ptr<WrittenLayer>> layers_;
};

bool IsInputEntry(const Json& layer);

}  // namespace cyxwiz::spec
