#include "runner/predictions.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <utility>

#include "base/json.h"
#include "spec/count.h"
#include "spec/model_use.h"

namespace cyxwiz::runner {
namespace {

using spec::PredictionFormat;
using spec::Task;

constexpr size_t kPieceBytes = 1 << 20;

std::string CsvText(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == text.npos) return text;
  std::string quoted = "\"";
  for (char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

// The header of an array of float32, padded so that the values begin at a multiple of 64 bytes.
std::string NpyHeader(int64_t samples, const spec::Shape& output) {
  std::string shape = std::to_string(samples) + ",";
  for (int64_t dimension : output) shape += " " + std::to_string(dimension) + ",";
  if (!output.empty()) shape.pop_back();
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + shape + "), }";
  constexpr size_t kBefore = 10;  // magic, version, length
  header.append(63 - (kBefore + header.size()) % 64, ' ');
  header += '\n';
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes += static_cast<char>(header.size() & 0xFF);
  bytes += static_cast<char>(header.size() >> 8);
  return bytes + header;
}

}  // namespace

Result<std::unique_ptr<PredictionWriter>> PredictionWriter::Create(const std::string& folder,
                                                                   PredictionFormat format,
                                                                   PredictionShape shape) {
  std::unique_ptr<PredictionWriter> writer(new PredictionWriter(folder, format, std::move(shape)));
  RETURN_IF_ERROR(MakeFolder(folder));
  writer->fd_.Reset(::open(writer->temporary_.c_str(),
                           O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!writer->fd_) return ErrnoStatus("cannot create '" + writer->temporary_ + "'", errno);
  writer->AddHeader();
  return writer;
}

PredictionWriter::PredictionWriter(const std::string& folder, PredictionFormat format,
                                   PredictionShape shape)
    : format_(format),
      shape_(std::move(shape)),
      name_("predictions." + std::string(spec::PredictionFormatName(format))),
      path_(folder + "/" + name_),
      temporary_(path_ + ".new") {
  if (shape_.task == Task::kClasses) {
    columns_ = shape_.output.back();
    rows_ = spec::ElementCount(shape_.output) / columns_;
  } else {
    columns_ = spec::ElementCount(shape_.output);
  }
  for (const std::string& name : shape_.class_names) {
    csv_labels_.push_back("," + CsvText(name));
    json_labels_.push_back(Json(name).dump(-1, ' ', false, Json::error_handler_t::replace));
  }
}

PredictionWriter::~PredictionWriter() {
  if (fd_) ::unlink(temporary_.c_str());
}

void PredictionWriter::AddHeader() {
  if (format_ == PredictionFormat::kNpy) {
    pending_ = NpyHeader(shape_.samples, shape_.output);
  } else if (format_ == PredictionFormat::kCsv) {
    pending_ = rows_ > 1 ? "sample,position" : "sample";
    if (shape_.task != Task::kNumbers) {
      pending_ += csv_labels_.empty() ? ",class" : ",class,label";
    }
    const std::string value = shape_.task == Task::kNumbers ? ",value"
                              : shape_.probabilities        ? ",probability"
                                                            : ",output";
    for (int64_t i = 0; i < columns_; ++i) {
      pending_ += value + (columns_ > 1 ? "_" + std::to_string(i) : "");
    }
    pending_ += '\n';
  }
}

void PredictionWriter::AddValues(const float* values, int64_t count, const char* not_finite) {
  char text[32];
  for (int64_t i = 0; i < count; ++i) {
    if (i > 0) pending_ += ',';
    if (std::isfinite(values[i])) {
      auto end = std::to_chars(text, text + sizeof text, values[i]);
      pending_.append(text, end.ptr);
    } else if (not_finite != nullptr) {
      pending_ += not_finite;
    } else {
      pending_ += std::isnan(values[i]) ? "nan" : values[i] > 0 ? "inf" : "-inf";
    }
  }
}

void PredictionWriter::AddRow(const float* values, int64_t position, int64_t predicted) {
  pending_ += std::to_string(sample_);
  if (rows_ > 1) pending_ += "," + std::to_string(position);
  if (shape_.task != Task::kNumbers) {
    pending_ += "," + std::to_string(predicted);
    const size_t place = static_cast<size_t>(predicted);
    // A model may have more outputs than there were classes.
    if (!csv_labels_.empty()) pending_ += place < csv_labels_.size() ? csv_labels_[place] : ",";
  }
  pending_ += ',';
  AddValues(values, columns_, nullptr);
  pending_ += '\n';
}

void PredictionWriter::AddObject(const float* values, const int64_t* classes) {
  pending_ += "{\"sample\":" + std::to_string(sample_);
  auto add_list = [&](const char* name, const char* plural, bool many, auto add_one) {
    pending_ += std::string(",\"") + (many ? plural : name) + "\":" + (many ? "[" : "");
    for (int64_t row = 0; row < rows_; ++row) {
      if (row > 0) pending_ += ',';
      add_one(row);
    }
    if (many) pending_ += ']';
  };
  if (shape_.task != Task::kNumbers) {
    add_list("class", "classes", rows_ > 1,
             [&](int64_t row) { pending_ += std::to_string(classes[row]); });
    if (!json_labels_.empty()) {
      add_list("label", "labels", rows_ > 1, [&](int64_t row) {
        const size_t place = static_cast<size_t>(classes[row]);
        pending_ += place < json_labels_.size() ? json_labels_[place] : "null";
      });
    }
  }
  const char* one = shape_.task == Task::kNumbers ? "value"
                    : shape_.probabilities        ? "probability"
                                                  : "output";
  const char* several = shape_.task == Task::kNumbers ? "values"
                        : shape_.probabilities        ? "probabilities"
                                                      : "outputs";
  pending_ += std::string(",\"") + (columns_ > 1 ? several : one) + "\":";
  if (rows_ > 1) pending_ += '[';
  for (int64_t row = 0; row < rows_; ++row, values += columns_) {
    if (row > 0) pending_ += ',';
    if (columns_ > 1) pending_ += '[';
    AddValues(values, columns_, "null");
    if (columns_ > 1) pending_ += ']';
  }
  pending_ += rows_ > 1 ? "]}\n" : "}\n";
}

Status PredictionWriter::Add(const float* values, const int64_t* classes, int64_t count) {
  const int64_t each = rows_ * columns_;
  for (int64_t i = 0; i < count; ++i, ++sample_, values += each) {
    if (format_ == PredictionFormat::kNpy) {
      // The host is little-endian, as safetensors files need too.
      pending_.append(reinterpret_cast<const char*>(values),
                      static_cast<size_t>(each) * sizeof(float));
    } else if (format_ == PredictionFormat::kCsv) {
      for (int64_t row = 0; row < rows_; ++row) {
        AddRow(values + row * columns_, row, classes == nullptr ? 0 : classes[row]);
      }
    } else {
      AddObject(values, classes);
    }
    if (classes != nullptr) classes += rows_;
    RETURN_IF_ERROR(Flush(kPieceBytes));
  }
  return OkStatus();
}

Status PredictionWriter::Flush(size_t least) {
  if (pending_.size() < least) return OkStatus();
  Status written = WriteAll(fd_.get(), pending_);
  pending_.clear();
  if (written.ok()) return written;
  return Status(written.code(), "'" + temporary_ + "': " + written.message(), written.hint());
}

Status PredictionWriter::Finish() {
  if (sample_ != shape_.samples) {
    return Internal("expected predictions of " + std::to_string(shape_.samples) +
                    " samples, found " + std::to_string(sample_));
  }
  RETURN_IF_ERROR(Flush(0));
  RETURN_IF_ERROR(MoveIntoPlace(temporary_, path_));
  fd_.Reset();
  return OkStatus();
}

}  // namespace cyxwiz::runner
