#include "runner/operations.h"

#include "spec/layers.h"

namespace cyxwiz::runner {

const std::vector<OperationKind>& OperationKinds() {
  static const std::vector<OperationKind> kKinds = [] {
    std::vector<OperationKind> all;
    for (auto family :
         {BasicOperations, ConvolutionOperations, PoolingOperations, NormalizationOperations,
          SequenceOperations, ShapeOperations, ActivationOperations}) {
      for (const OperationKind& kind : family()) all.push_back(kind);
    }
    return all;
  }();
  return kKinds;
}

const OperationKind& FindOperationKind(std::string_view type) {
  for (const OperationKind& kind : OperationKinds()) {
    if (kind.type == type) return kind;
  }
  throw std::logic_error("no operation for the layer " + std::string(type));
}

std::vector<int64_t> SamePaddings(const spec::Shape& input, const spec::Shape& output,
                                  const spec::Sizes& window, const spec::Sizes& strides) {
  std::vector<int64_t> paddings;
  bool any = false;
  for (size_t i = window.size(); i-- > 0;) {
    auto [begin, end] = spec::SamePadding(input[i + 1], output[i + 1], window[i], strides[i]);
    paddings.push_back(begin);
    paddings.push_back(end);
    any = any || end > 0;
  }
  if (!any) paddings.clear();
  return paddings;
}

}  // namespace cyxwiz::runner
