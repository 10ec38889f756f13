// Pictures in files as samples of one shape. Internal to src/data.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/sample_files.h"

namespace cyxwiz::data {

class PictureRows : public SampleRows {
 public:
  // shape: what pictures become: [channels, height, width]. resizes: whether they may be of another
  // size.
  PictureRows(std::shared_ptr<const SampleFiles> files, const std::vector<int64_t>& shape,
              bool resizes)
      : SampleRows(std::move(files)),
        channels_(shape[0]),
        height_(shape[1]),
        width_(shape[2]),
        resizes_(resizes) {}

 private:
  Fault Decode(std::string_view content, const std::string& name, uint8_t* out) const override;

  const int64_t channels_, height_, width_;
  const bool resizes_;
};

}  // namespace cyxwiz::data
