// The layers a model may have: one entry a layer, holding everything that is known of it outside of
// the runner. To add one: an options struct in job_spec.h, an entry here, its module in the runner,
// a row in docs/reference/job-files.md, a test in layers_test.cc.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spec/job_spec.h"
#include "spec/object_reader.h"

namespace cyxwiz::spec {

struct LayerCost {
  int64_t parameters = 0;        // trainable values
  int64_t buffer_bytes = 0;      // state that is saved but not trained: running statistics
  int64_t flops = 0;             // forward, one sample; a multiply-add counts 2
  int64_t activation_bytes = 0;  // kept from forward to backward, one sample
};

struct LayerKind {
  std::string_view type;                  // canonical name
  std::vector<std::string_view> aliases;  // compared by SameName, as is type
  // Reads the options; wrong ones become problems and keep their defaults.
  LayerOptions (*parse)(ObjectReader& reader);
  // Shape of the output; nullopt with a problem when the input does not fit.
  std::optional<Shape> (*infer)(const LayerOptions& options, const Shape& input,
                                ObjectReader& reader);
  LayerCost (*cost)(const LayerOptions& options, const Shape& input, const Shape& output);
  // Writes all options under their canonical names.
  void (*write)(const LayerOptions& options, Json* layer);
};

const std::vector<LayerKind>& LayerKinds();
// nullptr when there is none of that name.
const LayerKind* FindLayerKind(std::string_view name);

// Values of "activation"; "linear" and "none" are no activation.
std::span<const Choice> ActivationChoices();
std::string_view ActivationName(Activation activation);  // "relu"; "linear" for kNone

// Cost of a layer with its activation, from its options and shapes.
LayerCost CostOf(const LayerSpec& layer);

}  // namespace cyxwiz::spec
