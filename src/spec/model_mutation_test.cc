// Models that were right, with something changed at random: whatever stands there, the check ends,
// says where, and what it accepts is described again by its canonical form.
#include <random>

#include "spec/test_support.h"

namespace cyxwiz::spec {
namespace {

constexpr const char* kModels[] = {
    R"({"inputs": {"image": [1, 28, 28]}, "layers": [
        {"name": "a", "type": "conv2d", "filters": 4, "kernel_size": [3, 3], "strides": 2, "padding": 1,
         "dilation_rate": 1, "groups": 1, "inputs": "image"},
        {"name": "block", "type": "block", "repeat": 2, "residual": true, "activation": "relu",
         "layers": [{"type": "separable_conv2d", "filters": 4, "kernel_size": 3, "padding": "same"},
                    {"type": "batch_normalization", "momentum": 0.2}]},
        {"name": "both", "type": "concatenate", "axis": 1, "inputs": ["a", "block"]},
        {"type": "conv2d_transpose", "filters": 2, "kernel_size": 3, "strides": 2, "padding": "same"},
        {"type": "max_pooling2d", "pool_size": 3, "strides": 2, "padding": 1},
        {"type": "zero_padding2d", "padding": [[1, 2], [3, 4]]}, {"type": "upsampling2d", "size": 2},
        {"type": "global_average_pooling2d", "keepdims": true}, {"type": "flatten"},
        {"name": "head", "type": "dense", "units": 10}], "outputs": ["head"]})",
    R"({"layers": [{"type": "reshape", "target_shape": [28, -1]}, {"type": "permute", "dims": [2, 1]},
        {"type": "positional_embedding", "sequence_length": 30},
        {"type": "transformer_encoder", "num_heads": 4, "feed_forward": 8, "dropout": 0.1},
        {"type": "multi_head_attention", "num_heads": 2, "causal": true},
        {"type": "layer_normalization", "dimensions": 2}, {"type": "group_normalization", "groups": 7},
        {"type": "conv1d", "filters": 8, "kernel_size": 3, "padding": "same"},
        {"type": "lstm", "units": 8, "num_layers": 2, "dropout": 0.2, "bidirectional": true},
        {"type": "dense", "units": 10, "activation": "softmax"}]})",
    R"({"layers": [{"type": "flatten"},
        {"type": "embedding", "input_dim": 256, "output_dim": 2}, {"type": "gru", "units": 3},
        {"name": "x", "type": "dense", "units": 4}, {"name": "y", "type": "elu", "alpha": 1},
        {"type": "multiply", "inputs": ["x", "y"]}, {"type": "dense", "units": 10}]})",
};

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  void Change(Json* json) {
    std::vector<Json*> places;
    Collect(json, &places);
    Json* place = places[Below(places.size())];
    switch (Below(6)) {
      case 0:
        *place = *places[Below(places.size())];  // what stands elsewhere
        return;
      case 1:
        if (place->is_structured() && !place->empty()) {
          place->erase(std::next(place->begin(), static_cast<int64_t>(Below(place->size()))));
        }
        return;
      case 2:
        if (place->is_array() && !place->empty()) place->push_back((*place)[Below(place->size())]);
        return;
      case 3:
        if (place->is_number_integer()) {  // beyond the largest comes the smallest
          const uint64_t next = Below(2) == 0 ? 1 : ~uint64_t{0};
          *place = static_cast<int64_t>(place->get<uint64_t>() + next);
        }
        return;
      default:
        *place = Odd();
    }
  }

 private:
  size_t Below(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random_); }

  Json Odd() {
    const Json kOdd[] = {0,
                         -1,
                         1,
                         2,
                         7,
                         1000,
                         65536,
                         1 << 20,
                         INT64_MAX,
                         UINT64_MAX,
                         0.5,
                         1e300,
                         true,
                         nullptr,
                         "",
                         "input",
                         "a",
                         "same",
                         "block",
                         Json::array(),
                         Json::object(),
                         {1, 2},
                         {-1},
                         {{1}},
                         {1, 2, 3, 4, 5, 6, 7, 8, 9}};
    return kOdd[Below(std::size(kOdd))];
  }

  static void Collect(Json* json, std::vector<Json*>* places) {
    places->push_back(json);
    if (!json->is_structured()) return;
    for (Json& part : *json) Collect(&part, places);
  }

  std::mt19937_64 random_;
};

TEST(ModelMutation, WhateverStandsThereIsRefusedOrDescribedAgain) {
  int accepted = 0, refused = 0;
  for (uint64_t seed = 0; seed < 6000; ++seed) {
    Mutator mutator(seed);
    Json model = Json::parse(kModels[seed % std::size(kModels)]);
    for (uint64_t i = 0; i <= seed % 3; ++i) mutator.Change(&model);
    const std::string text = model.dump();
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + text);
    auto [spec, problems] = Check(Job(text, "file:///images"));
    if (!spec) {
      ++refused;
      for (const Problem& problem : problems.list()) {
        EXPECT_TRUE(problem.path.starts_with("$.model")) << problem.ToString();
        EXPECT_FALSE(problem.message.empty());
      }
      continue;
    }
    ++accepted;
    Json canonical = ModelToJson(spec->model);
    auto again = Check(Job(canonical.dump(), "file:///images"));
    ASSERT_TRUE(again.spec) << again.problems.ToString();
    ASSERT_EQ(ModelToJson(again.spec->model), canonical);
  }
  EXPECT_GT(accepted, 300);
  EXPECT_GT(refused, 300);
}

}  // namespace
}  // namespace cyxwiz::spec
