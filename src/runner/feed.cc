#include "runner/feed.h"

#include <algorithm>
#include <cstring>

#include "runner/attempt_parts.h"
#include "runner/batches.h"
#include "runner/forward_pass.h"
#include "spec/count.h"

namespace cyxwiz::runner {
namespace {

// Threads that read ahead.
constexpr int kMostReaders = 4;

// Each of `count` rows of `width` values keeps the share `own` of itself; the rest is the row
// before it, before the first `before`.
void MixRows(const float* before, int64_t count, int64_t width, double own, float* rows) {
  const float kept = static_cast<float>(own), added = static_cast<float>(1 - own);
  for (int64_t row = count - 1; row >= 0; --row) {
    float* values = rows + row * width;
    const float* others = row == 0 ? before : values - width;
    for (int64_t i = 0; i < width; ++i) values[i] = others[i] * added + values[i] * kept;
  }
}

}  // namespace

Feed::Feed(const spec::JobSpec& job, const data::Split& split, at::Device device, int64_t most,
           bool labels)
    : job_(job),
      split_(split),
      device_(device),
      kind_(labels ? TargetKindOf(job, split) : TargetKind::kNone),
      output_shape_(job.model.output_shape),
      input_shape_(job.model.input_shape),
      augmentation_(job.dataset_uri.augmentation),
      stream_options_(job.dataset_uri.stream),
      seed_(job.training.seed),
      most_(most),
      sample_values_(spec::ElementCount(job.model.input_shape)),
      outputs_(job.model.output_shape.back()),
      positions_(ClassesOfSample(job, kind_)) {}

void Feed::Begin(int64_t epoch, const std::vector<BatchPart>& parts) {
  epoch_ = epoch;
  count_ = 0;
  if (split_.files == nullptr) return;
  std::vector<int64_t> rows;
  auto add = [&](int64_t sample) { rows.push_back(split_.rows[static_cast<size_t>(sample)]); };
  for (const BatchPart& part : parts) {
    std::for_each_n(part.indices + part.begin, part.count, add);
    bool in_part = false;
    const int64_t before = SampleBefore(part, &in_part);
    if (mixes() && !in_part) add(before);
  }
  stream_.reset();  // its memory
  if (rows.empty()) return;
  stream_ = std::make_unique<data::RowStream>(
      split_.files, std::move(rows), sample_values_ * split_.value_bytes(),
      stream_options_.memory_bytes, std::clamp(at::get_num_threads(), 1, kMostReaders));
}

void Feed::Load(const BatchPart& part) {
  if (device_.is_cpu() || augments() || split_.files != nullptr) return Gather(part);
  Select(part.indices + part.begin, part.count);
}

at::Tensor Feed::AsOutput(const at::Tensor& x) const {
  std::vector<int64_t> shape = output_shape_;
  shape.insert(shape.begin(), x.size(0));
  return x.view(shape);
}

// ---- through host memory

void Feed::MakeRoom() {
  std::vector<int64_t> x_shape = input_shape_;
  x_shape.insert(x_shape.begin(), most_);
  room_x_ = at::empty(x_shape, at::kFloat);
  if (has_classes()) {
    room_classes_ = at::empty(
        positions_ == 1 ? std::vector<int64_t>{most_} : std::vector<int64_t>{most_, positions_},
        at::kLong);
  }
  if (kind_ == TargetKind::kNumber) room_rows_ = at::empty({most_, 1}, at::kFloat);
  if (kind_ == TargetKind::kOneHotClass ||
      (kind_ == TargetKind::kClass && augmentation_.mixup > 0)) {
    room_rows_ = at::empty({most_, outputs_}, at::kFloat);
  }
}

int64_t Feed::SampleBefore(const BatchPart& part, bool* in_part) {
  *in_part = part.count == part.size;
  return part.indices[(part.begin + part.size - 1) % part.size];
}

void Feed::TakeFromFiles(int64_t count, float* out) {
  for (int64_t row = 0; row < count; ++row, out += sample_values_) {
    const uint8_t* bytes = nullptr;
    if (Status read = stream_->Next(&bytes); !read.ok())
      throw FailureError{FailureOf(read, "$.dataset")};
    if (split_.has_floats()) {
      std::memcpy(out, bytes, static_cast<size_t>(sample_values_) * sizeof(float));
    } else {
      ScaleBytes(bytes, split_.scale, sample_values_, out);
    }
  }
  if (stream_->left() == 0) stream_.reset();
}

void Feed::GatherSamples(const int64_t* indices, int64_t count, float* out) {
  if (split_.files != nullptr) {
    TakeFromFiles(count, out);
  } else {
    GatherFeatures(split_, sample_values_, indices, count, out);
  }
  if (epoch_ == 0 || !(augmentation_.moves() || augmentation_.jitters())) return;
  for (int64_t row = 0; row < count; ++row, out += sample_values_) {
    data::Augment(augmentation_, input_shape_, split_.scale, TurnOf(indices[row]), out);
  }
}

void Feed::GatherRows(const int64_t* classes, const int64_t* indices, int64_t count,
                      float* out) const {
  if (kind_ == TargetKind::kNumber) return GatherNumbers(split_, indices, count, out);
  std::fill_n(out, count * outputs_, 0.0f);
  for (int64_t i = 0; i < count; ++i) out[i * outputs_ + classes[i]] = 1;
}

void Feed::Gather(const BatchPart& part) {
  if (!room_x_.defined()) MakeRoom();
  const int64_t* indices = part.indices + part.begin;
  const int64_t count = part.count;
  const bool in_place = device_.is_cpu();
  if (count_ != count || !in_place) {
    x_ = room_x_.narrow(0, 0, count);
    if (kind_ == TargetKind::kSample) y_ = AsOutput(x_);
    if (kind_ == TargetKind::kClass && !mixes()) y_ = room_classes_.narrow(0, 0, count);
    if (kind_ == TargetKind::kNumber || has_rows_of_classes()) y_ = room_rows_.narrow(0, 0, count);
    if (has_classes()) classes_ = in_place ? room_classes_ : room_classes_.narrow(0, 0, count);
    count_ = count;
  }
  GatherSamples(indices, count, room_x_.data_ptr<float>());
  int64_t* classes = has_classes() ? room_classes_.data_ptr<int64_t>() : nullptr;
  if (has_classes()) GatherClasses(split_, positions_, indices, count, classes);
  if (kind_ == TargetKind::kNumber || has_rows_of_classes()) {
    GatherRows(classes, indices, count, room_rows_.data_ptr<float>());
  }
  if (mixes()) Mix(part);
  if (in_place) return;
  for (at::Tensor* tensor : {&x_, &y_, &classes_}) {
    if (tensor->defined()) *tensor = tensor->to(device_);
  }
}

void Feed::Mix(const BatchPart& part) {
  const double own = data::MixupShare(augmentation_.mixup, TurnOf(part.indices[0]));
  bool in_part = false;
  const int64_t before = SampleBefore(part, &in_part);
  if (in_part) {
    const float* last = room_x_.data_ptr<float>() + (part.count - 1) * sample_values_;
    before_.assign(last, last + sample_values_);
  } else {
    before_.resize(static_cast<size_t>(sample_values_));
    GatherSamples(&before, 1, before_.data());
  }
  MixRows(before_.data(), part.count, sample_values_, own, room_x_.data_ptr<float>());
  if (kind_ == TargetKind::kSample || kind_ == TargetKind::kNone) return;
  const int64_t width = kind_ == TargetKind::kNumber ? 1 : outputs_;
  before_.resize(static_cast<size_t>(std::max(sample_values_, width)));
  int64_t before_class = 0;
  if (has_classes()) GatherClasses(split_, 1, &before, 1, &before_class);
  GatherRows(&before_class, &before, 1, before_.data());
  MixRows(before_.data(), part.count, width, own, room_rows_.data_ptr<float>());
  if (!has_classes() || own >= 0.5) return;
  int64_t* classes = room_classes_.data_ptr<int64_t>();
  std::copy_backward(classes, classes + part.count - 1, classes + part.count);
  classes[0] = before_class;
}

// ---- from a GPU

void Feed::Select(const int64_t* indices, int64_t count) {
  if (!copy_) copy_.emplace(job_, split_, kind_, device_);
  count_ = count;
  DeviceCopy::Batch batch = copy_->Select(indices, count);
  x_ = std::move(batch.x);
  y_ = std::move(batch.y);
  classes_ = std::move(batch.classes);
}

}  // namespace cyxwiz::runner
