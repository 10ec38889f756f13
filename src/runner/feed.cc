#include "runner/feed.h"

#include <algorithm>

#include "data/augment.h"
#include "runner/batches.h"
#include "spec/count.h"

namespace cyxwiz::runner {

Feed::Kind Feed::KindOf(const spec::JobSpec& job, const data::Split& split) {
  if (job.training.target == spec::Target::kInput) return Kind::kSample;
  if (job.training.loss == spec::Loss::kCrossEntropy) return Kind::kClass;
  bool classes = !std::holds_alternative<std::vector<float>>(split.labels);
  return classes && job.model.output_shape[0] > 1 ? Kind::kOneHotClass : Kind::kNumber;
}

Feed::Feed(const spec::JobSpec& job, const data::Split& split, at::Device device, int64_t most,
           bool labels)
    : split_(split),
      device_(device),
      kind_(labels ? KindOf(job, split) : Kind::kNone),
      output_shape_(job.model.output_shape),
      input_shape_(job.model.input_shape),
      augmentation_(job.dataset_uri.augmentation),
      seed_(job.training.seed),
      sample_values_(spec::ElementCount(job.model.input_shape)),
      outputs_(job.model.output_shape.back()),
      positions_(kind_ == Kind::kClass && output_shape_.size() == 2 ? output_shape_[0] : 1) {
  at::TensorOptions floats = at::TensorOptions(at::kFloat).device(device);
  std::vector<int64_t> x_shape = job.model.input_shape;
  x_shape.insert(x_shape.begin(), device.is_cpu() ? most : split.samples);
  if (device.is_cpu()) {
    all_x_ = at::empty(x_shape, floats);
    if (kind_ == Kind::kClass || kind_ == Kind::kOneHotClass) {
      classes_ = at::empty(
          positions_ == 1 ? std::vector<int64_t>{most} : std::vector<int64_t>{most, positions_},
          at::kLong);
    }
    if (kind_ == Kind::kClass) all_y_ = classes_;
    if (kind_ == Kind::kNumber) all_y_ = at::empty({most, 1}, floats);
    if (kind_ == Kind::kOneHotClass) all_y_ = at::empty({most, outputs_}, floats);
    return;
  }
  auto to_device = [&](const auto& values, at::IntArrayRef shape, at::ScalarType type) {
    return at::from_blob(const_cast<void*>(static_cast<const void*>(values.data())), shape, type)
        .to(device);
  };
  const auto* bytes = std::get_if<std::vector<uint8_t>>(&split.features);
  all_x_ = bytes != nullptr
               ? to_device(*bytes, x_shape, at::kByte)
               : to_device(std::get<std::vector<float>>(split.features), x_shape, at::kFloat);
  if (!split.scale.mean.empty()) {
    // Against a batch of samples: of channels, or of the last dimension.
    std::vector<int64_t> shape = {static_cast<int64_t>(split.scale.mean.size())};
    if (input_shape_.size() == 3) shape.insert(shape.end(), 2, 1);
    mean_ = to_device(split.scale.mean, shape, at::kFloat);
    deviation_ = to_device(split.scale.deviation, shape, at::kFloat);
  }
  if (kind_ == Kind::kSample || kind_ == Kind::kNone) return;
  std::vector<int64_t> label_shape = {split.samples};
  if (positions_ > 1) label_shape.push_back(positions_);
  if (const auto* bytes = std::get_if<std::vector<uint8_t>>(&split.labels)) {
    all_y_ = to_device(*bytes, label_shape, at::kByte).to(at::kLong);
  } else if (const auto* classes = std::get_if<std::vector<int64_t>>(&split.labels)) {
    all_y_ = to_device(*classes, label_shape, at::kLong);
  } else {
    all_y_ = to_device(std::get<std::vector<float>>(split.labels), label_shape, at::kFloat);
  }
}

void Feed::Augment(const int64_t* indices, int64_t count, float* samples) const {
  for (int64_t row = 0; row < count; ++row, samples += sample_values_) {
    data::Augment(augmentation_, input_shape_, split_.scale,
                  {seed_, static_cast<uint64_t>(epoch_), static_cast<uint64_t>(indices[row])},
                  samples);
  }
}

at::Tensor Feed::AsOutput(const at::Tensor& x) const {
  std::vector<int64_t> shape = output_shape_;
  shape.insert(shape.begin(), x.size(0));
  return x.view(shape);
}

void Feed::Load(const int64_t* indices, int64_t count) {
  if (!device_.is_cpu()) return Select(indices, count);
  if (count_ != count) {
    x_ = all_x_.narrow(0, 0, count);
    if (kind_ != Kind::kNone) {
      y_ = kind_ == Kind::kSample ? AsOutput(x_) : all_y_.narrow(0, 0, count);
    }
    count_ = count;
  }
  GatherFeatures(split_, sample_values_, indices, count, all_x_.data_ptr<float>());
  if (augments()) Augment(indices, count, all_x_.data_ptr<float>());
  if (kind_ == Kind::kSample || kind_ == Kind::kNone) return;
  if (kind_ == Kind::kNumber) {
    return GatherNumbers(split_, indices, count, all_y_.data_ptr<float>());
  }
  GatherClasses(split_, positions_, indices, count, classes_.data_ptr<int64_t>());
  if (kind_ == Kind::kClass) return;
  float* row = all_y_.data_ptr<float>();
  std::fill_n(row, count * outputs_, 0.0f);
  for (int64_t i = 0; i < count; ++i, row += outputs_) row[classes_.data_ptr<int64_t>()[i]] = 1;
}

void Feed::Select(const int64_t* indices, int64_t count) {
  count_ = count;
  at::Tensor index = at::from_blob(const_cast<int64_t*>(indices), {count}, at::kLong).to(device_);
  if (augments()) {
    std::vector<int64_t> shape = input_shape_;
    shape.insert(shape.begin(), count);
    at::Tensor host = at::empty(shape, at::kFloat);
    GatherFeatures(split_, sample_values_, indices, count, host.data_ptr<float>());
    Augment(indices, count, host.data_ptr<float>());
    x_ = host.to(device_);
  } else {
    x_ = all_x_.index_select(0, index);
    if (x_.scalar_type() == at::kByte) {
      x_ = x_.to(at::kFloat).div_(split_.scale.divisor);
      if (mean_.defined()) x_ = x_.sub_(mean_).div_(deviation_);
    }
  }
  if (kind_ == Kind::kSample) y_ = AsOutput(x_);
  if (kind_ == Kind::kSample || kind_ == Kind::kNone) return;
  y_ = all_y_.index_select(0, index);
  if (kind_ == Kind::kNumber) {
    y_ = y_.to(at::kFloat).unsqueeze(1);
    return;
  }
  classes_ = y_;
  if (kind_ == Kind::kOneHotClass) y_ = at::one_hot(classes_, outputs_).to(at::kFloat);
}

}  // namespace cyxwiz::runner
