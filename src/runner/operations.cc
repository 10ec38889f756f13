#include "runner/operations.h"

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

}  // namespace cyxwiz::runner
