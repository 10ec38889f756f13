// Reads the members of an object that came from outside: a layer, the hyperparameters, a URI's
// query, a job file. Every wrong member becomes a Problem with its path; members that nobody asked
// for are refused at the end.
//
//   ObjectReader reader(json, "$.model.layers[2]", problems);
//   options.units = reader.Whole({"units", "out_features"}, 1, kMaxUnits).value_or(0);
//   reader.RefuseUnknown();
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "spec/problem.h"

namespace cyxwiz::spec {

// A value as shown in a message: at most about 60 characters, valid UTF-8, control characters
// escaped, text in quotes.
std::string Shown(const Json& value);
std::string Shown(std::string_view text);

// "$.model" and "layers" make "$.model.layers"; a key that is no plain word is quoted: $.model["two
// words"].
std::string Member(const std::string& path, std::string_view key);

// Names compared as people write them: without regard to case and underscores ("Max_Pool2D" is
// "maxpool2d").
bool SameName(std::string_view a, std::string_view b);

// "did you mean 'dense'?", or "" when no candidate is near.
std::string DidYouMean(std::string_view name, const std::vector<std::string>& candidates);

// Whether `text` is UTF-8 without control characters, so that it can be shown and stored.
bool IsPlainText(std::string_view text);

// A member's name and the other names it goes by.
struct Key {
  std::string_view name;
  std::string_view alias = {};
  std::string_view second_alias = {};
};

// ", or [height, width]": how the sizes of that many directions may also be written.
std::string OrSizes(size_t count);

// An interval of real numbers.
struct RealRange {
  double min = 0;
  double max = 0;
  bool above_min = false;  // min itself is outside
  bool below_max = false;  // max itself is outside
};

// Whether the number is finite in float32, and 0 only when it is 0.
bool FitsFloat32(double number);

// One value of an enumeration. Aliases are accepted and not listed in messages.
struct Choice {
  std::string_view name;
  int value = 0;
  bool alias = false;
};

// Used by one thread. `object` and `problems` outlive the reader.
class ObjectReader {
 public:
  enum class Values {
    kJson,   // members have their JSON types
    kText,   // members are strings that hold numbers and so on
    kQuery,  // as kText; members are parameters of a URI, so problems have the path of the URI
  };
  // object: a JSON object.
  ObjectReader(const Json& object, std::string path, Problems* problems,
               Values values = Values::kJson);

  // Each returns nullopt when the member is absent, and nullopt with a problem when it is wrong.
  std::optional<int64_t> Whole(const Key& key, int64_t min, int64_t max);
  // One that is computed with in float32, where it must not overflow or become 0.
  std::optional<double> Real(const Key& key, const RealRange& range);
  std::optional<bool> Bool(const Key& key);
  std::optional<std::string> Text(const Key& key);
  std::optional<int> OneOf(const Key& key, std::span<const Choice> choices);
  // Texts separated by commas, without the blanks around them; at least one, none empty.
  std::optional<std::vector<std::string>> List(const Key& key);
  // One number for all `count` directions, 1 to 3, or an array of as many: [height, width].
  std::optional<std::vector<int64_t>> Sizes(const Key& key, size_t count, int64_t min, int64_t max);
  // A shape of one sample: one to eight positive whole numbers.
  std::optional<std::vector<int64_t>> Shape(const Key& key);

  // The member as it is; nullptr when absent. Also makes the key a known one.
  const Json* Find(const Key& key);
  // Whether the member, when it is there, is the whole number `inferred`; a problem when it is
  // another.
  bool Matches(const Key& key, int64_t inferred, const std::string& meaning);

  // Adds a problem with the member of that key. `what` follows the name in the sentence: "must be
  // ...".
  void Refuse(const Key& key, const std::string& what, std::string expected, std::string hint = "");
  // Adds a problem with the object as a whole.
  void RefuseObject(std::string message, std::string expected = "", std::string found = "",
                    std::string hint = "");
  // Adds a problem for each member whose key was never asked for. Call once, last.
  void RefuseUnknown();

  const std::string& path() const { return path_; }

 private:
  // A member of the object.
  struct Entry {
    std::string_view name;
    const Json* value = nullptr;
    bool known = false;  // it was asked for
  };
  // The entry of that key under whichever of its names; nullptr when absent.
  const Entry* Look(const Key& key);
  std::string ShownValue(const Json& value) const;

  const Json& object_;
  const std::string path_;
  Problems* const problems_;
  const Values values_;
  std::vector<Entry> entries_;
  std::vector<Key> asked_;  // may hold one twice
};

}  // namespace cyxwiz::spec
