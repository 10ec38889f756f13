// The tables that say how each kind of layer is written in a form.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "spec/job_spec.h"

namespace cyxwiz::exporting {

// Kind: has `type`, that of LayerSpec.
template <typename Kind>
std::vector<Kind> AllOf(std::initializer_list<std::vector<Kind> (*)()> families) {
  std::vector<Kind> all;
  for (auto family : families) {
    for (const Kind& kind : family()) all.push_back(kind);
  }
  return all;
}

// nullptr: none is of that type.
template <typename Kind>
const Kind* FindKind(const std::vector<Kind>& kinds, std::string_view type) {
  auto found =
      std::find_if(kinds.begin(), kinds.end(), [&](const Kind& kind) { return kind.type == type; });
  return found == kinds.end() ? nullptr : &*found;
}

// UNIMPLEMENTED, naming them all, when the model has layers that `find` does not know. form: what
// they cannot be written as.
template <typename Kind>
Status CheckLayers(const spec::ModelSpec& model, const Kind* (*find)(std::string_view),
                   const std::string& form) {
  std::string names;
  for (const spec::LayerSpec& layer : model.layers) {
    if (find(layer.type) != nullptr) continue;
    names += (names.empty() ? "'" : ", '") + layer.name + "' (" + layer.type + ")";
  }
  if (names.empty()) return OkStatus();
  return Unimplemented("the model has layers that cannot be written as " + form + ": " + names,
                       "use --format safetensors");
}

}  // namespace cyxwiz::exporting
