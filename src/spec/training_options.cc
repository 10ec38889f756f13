#include "spec/training_options.h"

#include <algorithm>

namespace cyxwiz::spec {
namespace {

bool Owns(const OwnedKey& owned, int chosen) {
  return std::find(owned.owners.begin(), owned.owners.end(), chosen) != owned.owners.end();
}

}  // namespace

void RefuseMisplaced(ObjectReader& reader, std::span<const OwnedKey> keys, int chosen,
                     std::span<const Choice> choices, const std::string& what) {
  for (const OwnedKey& owned : keys) {
    if (Owns(owned, chosen) || reader.Find(owned.key) == nullptr) continue;
    std::string owners;
    for (size_t i = 0; i < owned.owners.size(); ++i) {
      if (i > 0) owners += i + 1 == owned.owners.size() ? " and " : ", ";
      owners += NameOf(choices, owned.owners[i]);
    }
    reader.Refuse(owned.key, "has no effect with this " + what, "it only with " + owners,
                  "leave it out, or choose another " + what);
  }
}

void WriteOwned(std::span<const OwnedKey> keys, int chosen,
                std::span<const std::pair<Key, Json>> values, Json* json) {
  for (const OwnedKey& owned : keys) {
    if (!Owns(owned, chosen)) continue;
    for (const auto& [key, value] : values) {
      if (key.name == owned.key.name) (*json)[std::string(key.name)] = value;
    }
  }
}

std::string NameOf(std::span<const Choice> choices, int value) {
  for (const Choice& choice : choices) {
    if (choice.value == value) return std::string(choice.name);
  }
  return "";
}

}  // namespace cyxwiz::spec
