#include "runner/device_copy.h"

namespace cyxwiz::runner {

TargetKind TargetKindOf(const spec::JobSpec& job, const data::Split& split) {
  if (job.training.target == spec::Target::kInput) return TargetKind::kSample;
  if (job.training.loss == spec::Loss::kCrossEntropy) return TargetKind::kClass;
  const bool classes = !std::holds_alternative<std::vector<float>>(split.labels);
  return classes && job.model.output_shape[0] > 1 ? TargetKind::kOneHotClass : TargetKind::kNumber;
}

int64_t ClassesOfSample(const spec::JobSpec& job, TargetKind kind) {
  const spec::Shape& output = job.model.output_shape;
  return kind == TargetKind::kClass && output.size() == 2 ? output[0] : 1;
}

DeviceCopy::DeviceCopy(const spec::JobSpec& job, const data::Split& split, TargetKind kind,
                       at::Device device)
    : job_(job), split_(split), kind_(kind), device_(device) {
  auto to_device = [&](const auto& values, at::IntArrayRef shape, at::ScalarType type) {
    return at::from_blob(const_cast<void*>(static_cast<const void*>(values.data())), shape, type)
        .to(device_);
  };
  std::vector<int64_t> x_shape = job.model.input_shape;
  x_shape.insert(x_shape.begin(), split.samples);
  const auto* bytes = std::get_if<std::vector<uint8_t>>(&split.features);
  x_ = bytes != nullptr
           ? to_device(*bytes, x_shape, at::kByte)
           : to_device(std::get<std::vector<float>>(split.features), x_shape, at::kFloat);
  if (!split.scale.mean.empty()) {
    const std::vector<int64_t> shape = {static_cast<int64_t>(split.scale.mean.size()), 1};
    mean_ = to_device(split.scale.mean, shape, at::kFloat);
    deviation_ = to_device(split.scale.deviation, shape, at::kFloat);
  }
  if (kind == TargetKind::kSample || kind == TargetKind::kNone) return;
  std::vector<int64_t> label_shape = {split.samples};
  if (const int64_t each = ClassesOfSample(job, kind); each > 1) label_shape.push_back(each);
  if (const auto* labels = std::get_if<std::vector<uint8_t>>(&split.labels)) {
    y_ = to_device(*labels, label_shape, at::kByte).to(at::kLong);
  } else if (const auto* classes = std::get_if<std::vector<int64_t>>(&split.labels)) {
    y_ = to_device(*classes, label_shape, at::kLong);
  } else {
    y_ = to_device(std::get<std::vector<float>>(split.labels), label_shape, at::kFloat);
  }
}

DeviceCopy::Batch DeviceCopy::Select(const int64_t* indices, int64_t count) const {
  Batch batch;
  const at::Tensor index =
      at::from_blob(const_cast<int64_t*>(indices), {count}, at::kLong).to(device_);
  batch.x = x_.index_select(0, index);
  if (batch.x.scalar_type() == at::kByte) {
    batch.x = batch.x.to(at::kFloat).div_(split_.scale.divisor);
    if (mean_.defined()) {
      // Value i belongs to group i / inner modulo their number.
      batch.x.view({count, -1, mean_.size(0), split_.scale.inner}).sub_(mean_).div_(deviation_);
    }
  }
  if (kind_ == TargetKind::kSample) {
    std::vector<int64_t> shape = job_.model.output_shape;
    shape.insert(shape.begin(), count);
    batch.y = batch.x.view(shape);
  }
  if (kind_ == TargetKind::kSample || kind_ == TargetKind::kNone) return batch;
  batch.y = y_.index_select(0, index);
  if (kind_ == TargetKind::kNumber) {
    batch.y = batch.y.to(at::kFloat).unsqueeze(1);
    return batch;
  }
  batch.classes = batch.y;
  if (kind_ == TargetKind::kOneHotClass)
    batch.y = at::one_hot(batch.classes, job_.model.output_shape.back()).to(at::kFloat);
  return batch;
}

}  // namespace cyxwiz::runner
