// A layer's options, named once: the same list reads them from a job and writes them out again.
//
//   void DenseList(DenseOptions& dense, OptionList& list) {
//     list.Whole({"units", "out_features"}, &dense.units, 1, kMaxUnits, kRequired);
//     list.Bool({"use_bias", "bias"}, &dense.use_bias);
//   }
#pragma once

#include <string>

#include "spec/model_spec.h"
#include "spec/object_reader.h"

namespace cyxwiz::spec {

inline constexpr int64_t kMaxUnits = 1 << 20;   // units, filters, groups
inline constexpr int64_t kMaxWindow = 1 << 16;  // kernel, stride, padding, dilation

// Images are channels first, as in PyTorch; Keras models that say otherwise would silently train on
// garbage.
void CheckDataFormat(ObjectReader& reader);

// Used by one thread.
class OptionList {
 public:
  enum Presence { kOptional, kRequired };

  // Reads: an option that is absent keeps its default, and so does a wrong one, which becomes a
  // problem.
  explicit OptionList(ObjectReader* reader) : reader_(reader) {}
  // Writes under the canonical names.
  explicit OptionList(Json* layer) : layer_(layer) {}

  void Whole(const Key& key, int64_t* value, int64_t min, int64_t max,
             Presence presence = kOptional);
  void Real(const Key& key, double* value, const RealRange& range);
  void Bool(const Key& key, bool* value);
  // T: an enumeration whose values the choices hold.
  template <typename T>
  void OneOf(const Key& key, T* value, std::span<const Choice> choices) {
    int number = static_cast<int>(*value);
    OneOfNumber(key, &number, choices);
    *value = static_cast<T>(number);
  }
  // One number for all `count` directions, or an array of as many. Absent: all `standard`.
  void Sizes(const Key& key, spec::Sizes* value, size_t count, int64_t min, int64_t max,
             int64_t standard, Presence presence = kOptional);
  // "valid", "same", or sizes.
  void Paddings(Padding* padding, spec::Sizes* sizes, size_t count);

  // What a layer takes of PyTorch's arguments that only say what is inferred; not written.
  void Inferred(const Key& key);
  // data_format, which has one right value; not written.
  void DataFormat();

  // nullptr when it writes: then there is nothing to check.
  ObjectReader* reader() const { return reader_; }
  Json& written() { return *layer_; }

 private:
  void OneOfNumber(const Key& key, int* value, std::span<const Choice> choices);
  bool Missing(const Key& key, Presence presence, const std::string& expected);

  ObjectReader* reader_ = nullptr;
  Json* layer_ = nullptr;
};

}  // namespace cyxwiz::spec
