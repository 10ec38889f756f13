// Layers that move, repeat or join values: flatten, reshape, permute, upsampling2d, zero_padding2d,
// add, multiply, concatenate.
#include <algorithm>
#include <set>

#include "spec/layer_families.h"

namespace cyxwiz::spec {
namespace {

constexpr size_t kMaxJoined = 64;
constexpr int64_t kMaxRank = 8;

// ---- flatten

void FlattenList(FlattenOptions&, OptionList& list) {
  list.DataFormat();
  if (list.reader() == nullptr) return;
  // PyTorch's arguments: only the whole sample can be flattened.
  list.reader()->Whole({"start_dim"}, 1, 1);
  list.reader()->Whole({"end_dim"}, -1, -1);
}

std::optional<Shape> InferFlatten(const LayerOptions&, const Shapes& inputs, ObjectReader&) {
  return Shape{ElementCount(inputs[0])};
}

// ---- reshape

constexpr Key kTarget = {"target_shape", "shape"};
constexpr Key kDimensions = {"dims"};

// Reads an array of up to kMaxRank numbers, each of which must be `good`.
template <typename Good>
void ReadNumbers(const Key& key, ObjectReader& reader, const std::string& expected, Good good,
                 std::vector<int64_t>* numbers) {
  const Json* value = reader.Find(key);
  bool right = value != nullptr && value->is_array() && !value->empty() &&
               value->size() <= static_cast<size_t>(kMaxRank);
  for (size_t i = 0; right && i < value->size(); ++i) {
    const Json& part = (*value)[i];
    right = part.is_number_integer() &&
            !(part.is_number_unsigned() &&
              part.get<uint64_t>() > static_cast<uint64_t>(kMaxSampleElements)) &&
            good(part.get<int64_t>());
  }
  if (right) {
    *numbers = value->get<std::vector<int64_t>>();
  } else {
    reader.Refuse(key, value == nullptr ? "is missing" : "is wrong", expected);
  }
}

void ReshapeList(ReshapeOptions& reshape, OptionList& list) {
  if (list.reader() == nullptr) {
    list.written()[std::string(kTarget.name)] = reshape.target;
    return;
  }
  ReadNumbers(
      kTarget, *list.reader(),
      "one to 8 positive whole numbers, one of which may be -1: what remains",
      [](int64_t n) { return n == -1 || n >= 1; }, &reshape.target);
  if (std::count(reshape.target.begin(), reshape.target.end(), -1) > 1) {
    list.reader()->Refuse(kTarget, "has more than one -1", "at most one");
  }
}

std::optional<Shape> InferReshape(const LayerOptions& options, const Shapes& inputs,
                                  ObjectReader& reader) {
  Shape output = As<ReshapeOptions>(options).target;
  const int64_t values = ElementCount(inputs[0]);
  int64_t known = 1;
  for (int64_t n : output) known = Product(known, n == -1 ? 1 : n);
  auto open = std::find(output.begin(), output.end(), -1);
  if (open != output.end() && values % known == 0) {
    *open = values / known;
    known = values;
  }
  if (known == values) return output;
  reader.Refuse(kTarget, "does not hold the values of the input " + ToString(inputs[0]),
                std::to_string(values) + " values");
  return std::nullopt;
}

// ---- permute

void PermuteList(PermuteOptions& permute, OptionList& list) {
  if (list.reader() == nullptr) {
    list.written()[std::string(kDimensions.name)] = permute.dimensions;
    return;
  }
  ReadNumbers(
      kDimensions, *list.reader(), "the dimensions in their new order, from 1, as [2, 1]",
      [](int64_t n) { return n >= 1 && n <= kMaxRank; }, &permute.dimensions);
}

std::optional<Shape> InferPermute(const LayerOptions& options, const Shapes& inputs,
                                  ObjectReader& reader) {
  const std::vector<int64_t>& dimensions = As<PermuteOptions>(options).dimensions;
  const std::set<int64_t> each(dimensions.begin(), dimensions.end());
  const size_t rank = inputs[0].size();
  if (dimensions.size() != rank || each.size() != rank ||
      *each.rbegin() != static_cast<int64_t>(rank)) {
    reader.Refuse(kDimensions, "is no order of the dimensions of the input " + ToString(inputs[0]),
                  rank == 1 ? "[1]" : "each of 1 to " + std::to_string(rank) + " once");
    return std::nullopt;
  }
  Shape output;
  for (int64_t dimension : dimensions) {
    output.push_back(inputs[0][static_cast<size_t>(dimension - 1)]);
  }
  return output;
}

// ---- upsampling2d

void UpsamplingList(UpsamplingOptions& upsampling, OptionList& list) {
  static constexpr Choice kInterpolations[] = {{"nearest", 0}, {"bilinear", 1}};
  list.Sizes({"size", "scale_factor"}, &upsampling.size, 2, 1, kMaxWindow, 2);
  list.OneOf({"interpolation", "mode"}, &upsampling.bilinear, kInterpolations);
  list.DataFormat();
}

std::optional<Shape> InferUpsampling(const LayerOptions& options, const Shapes& inputs,
                                     ObjectReader& reader) {
  if (!HasDirections(2, inputs[0], reader)) return std::nullopt;
  const Sizes& size = As<UpsamplingOptions>(options).size;
  return Shape{inputs[0][0], Product(inputs[0][1], size[0]), Product(inputs[0][2], size[1])};
}

// ---- zero_padding2d: one number, [height, width], or [[top, bottom], [left, right]].

void ZeroPaddingList(ZeroPaddingOptions& zeros, OptionList& list) {
  static constexpr Key kPadding = {"padding"};
  if (list.reader() == nullptr) {
    list.written()["padding"] =
        std::vector<Sizes>{{zeros.top, zeros.bottom}, {zeros.left, zeros.right}};
    return;
  }
  ObjectReader& reader = *list.reader();
  list.DataFormat();
  const Json* value = reader.Find(kPadding);
  const bool sides = value != nullptr && value->is_array() && value->size() == 2 &&
                     (*value)[0].is_array() && (*value)[1].is_array();
  if (!sides) {
    if (auto sizes = reader.Sizes(kPadding, 2, 0, kMaxWindow)) {
      zeros = {(*sizes)[0], (*sizes)[0], (*sizes)[1], (*sizes)[1]};
    }
    return;
  }
  std::vector<int64_t> numbers;
  for (const Json& side : *value) {
    for (const Json& part : side) {
      bool good =
          part.is_number_unsigned() && part.get<uint64_t>() <= static_cast<uint64_t>(kMaxWindow);
      numbers.push_back(good ? part.get<int64_t>() : -1);
    }
  }
  if (numbers.size() == 4 && (*value)[0].size() == 2 &&
      *std::min_element(numbers.begin(), numbers.end()) >= 0) {
    zeros = {numbers[0], numbers[1], numbers[2], numbers[3]};
  } else {
    reader.Refuse(
        kPadding, "is wrong",
        "[[top, bottom], [left, right]] of whole numbers from 0 to " + std::to_string(kMaxWindow));
  }
}

std::optional<Shape> InferZeroPadding(const LayerOptions& options, const Shapes& inputs,
                                      ObjectReader& reader) {
  if (!HasDirections(2, inputs[0], reader)) return std::nullopt;
  const auto& zeros = As<ZeroPaddingOptions>(options);
  return Shape{inputs[0][0], Sum(inputs[0][1], zeros.top, zeros.bottom),
               Sum(inputs[0][2], zeros.left, zeros.right)};
}

LayerCost MovedCost(const LayerOptions&, const Shapes&, const Shape& output) {
  return {0, Product(kFloatBytes, ElementCount(output))};
}

// ---- add, multiply: value by value; a dimension of 1 goes with any.

template <typename Options>
void NoOptions(Options&, OptionList&) {}

std::string AllShapes(const Shapes& inputs) {
  std::string text;
  for (size_t i = 0; i < inputs.size() && i < 8; ++i) {
    text += (i == 0 ? "" : " and ") + ToString(inputs[i]);
  }
  return text;
}

std::optional<Shape> InferElementwise(const LayerOptions&, const Shapes& inputs,
                                      ObjectReader& reader) {
  Shape output = inputs[0];
  bool fit = true;
  for (const Shape& input : inputs) {
    fit = fit && input.size() == output.size();
    for (size_t i = 0; fit && i < output.size(); ++i) {
      fit = input[i] == output[i] || input[i] == 1 || output[i] == 1;
      output[i] = std::max(output[i], input[i]);
    }
  }
  if (fit) return output;
  reader.RefuseObject("the inputs have different shapes", "inputs of the same shape",
                      AllShapes(inputs), "a dimension of 1 goes with any");
  return std::nullopt;
}

LayerCost ElementwiseCost(const LayerOptions&, const Shapes& inputs, const Shape& output) {
  return {Product(static_cast<int64_t>(inputs.size()) - 1, ElementCount(output)),
          Product(kFloatBytes, ElementCount(output))};
}

// ---- concatenate

constexpr Key kAxis = {"axis", "dim"};

void ConcatenateList(ConcatenateOptions& concatenate, OptionList& list) {
  if (list.reader() != nullptr && list.reader()->Find(kAxis) != nullptr &&
      *list.reader()->Find(kAxis) == -1) {
    concatenate.axis = -1;
    return;
  }
  list.Whole(kAxis, &concatenate.axis, 1, kMaxRank);
}

// The dimension of the shape, from 0.
size_t AxisOf(const LayerOptions& options, const Shape& shape) {
  int64_t axis = As<ConcatenateOptions>(options).axis;
  return axis == -1 ? shape.size() - 1 : static_cast<size_t>(axis - 1);
}

std::optional<Shape> InferConcatenate(const LayerOptions& options, const Shapes& inputs,
                                      ObjectReader& reader) {
  Shape output = inputs[0];
  const size_t axis = AxisOf(options, output);
  if (reader.Find(kAxis) == nullptr && output.size() > 1) {
    reader.Refuse(kAxis, "is missing", "1 to " + std::to_string(output.size()) + ", or -1",
                  "1 joins the channels of images, -1 the last dimension");
    return std::nullopt;
  }
  if (axis >= output.size()) {
    reader.Refuse(kAxis, "is no dimension of the input " + ToString(output),
                  "1 to " + std::to_string(output.size()) + ", or -1");
    return std::nullopt;
  }
  for (size_t i = 1; i < inputs.size(); ++i) {
    const Shape& other = inputs[i];
    bool fits = other.size() == output.size();
    for (size_t d = 0; fits && d < other.size(); ++d) fits = d == axis || other[d] == output[d];
    if (!fits) {
      reader.RefuseObject("the inputs differ in more than the dimension that joins them",
                          "shapes that are the same but for dimension " + std::to_string(axis + 1),
                          AllShapes(inputs));
      return std::nullopt;
    }
    output[axis] = Sum(output[axis], other[axis]);
  }
  return output;
}

template <typename Options>
LayerKind Elementwise(std::string_view type, std::string_view alias) {
  return {type,
          {alias},
          ReadOptions<Options, NoOptions<Options>>,
          WriteOptions<Options, NoOptions<Options>>,
          InferElementwise,
          nullptr,
          ElementwiseCost,
          {.most_inputs = kMaxJoined}};
}

}  // namespace

std::vector<LayerKind> ShapeLayers() {
  return {
      {"flatten",
       {},
       ReadOptions<FlattenOptions, FlattenList>,
       WriteOptions<FlattenOptions, FlattenList>,
       InferFlatten,
       nullptr,
       NoCost,
       {.moves_values = true}},
      {"reshape",
       {},
       ReadOptions<ReshapeOptions, ReshapeList>,
       WriteOptions<ReshapeOptions, ReshapeList>,
       InferReshape,
       nullptr,
       NoCost,
       {.moves_values = true}},
      {"permute",
       {},
       ReadOptions<PermuteOptions, PermuteList>,
       WriteOptions<PermuteOptions, PermuteList>,
       InferPermute,
       nullptr,
       NoCost,
       {.moves_values = true}},
      {"upsampling2d",
       {"upsample"},
       ReadOptions<UpsamplingOptions, UpsamplingList>,
       WriteOptions<UpsamplingOptions, UpsamplingList>,
       InferUpsampling,
       nullptr,
       MovedCost},
      {"zero_padding2d",
       {"zero_pad2d"},
       ReadOptions<ZeroPaddingOptions, ZeroPaddingList>,
       WriteOptions<ZeroPaddingOptions, ZeroPaddingList>,
       InferZeroPadding,
       nullptr,
       MovedCost},
      Elementwise<AddOptions>("add", "sum"),
      Elementwise<MultiplyOptions>("multiply", "mul"),
      {"concatenate",
       {"concat", "cat"},
       ReadOptions<ConcatenateOptions, ConcatenateList>,
       WriteOptions<ConcatenateOptions, ConcatenateList>,
       InferConcatenate,
       nullptr,
       MovedCost,
       {.most_inputs = kMaxJoined}},
  };
}

}  // namespace cyxwiz::spec
