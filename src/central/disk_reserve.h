// A file that does nothing but take up space, given up when the disk is full so that work already
// begun can be finished.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"

namespace cyxwiz::central {

// One thread at a time.
class Reserve {
 public:
  virtual ~Reserve() = default;
  // Makes the file for the first time: of the wanted size, or an eighth of the free space when that
  // is less. RESOURCE_EXHAUSTED when the disk is too full for any; other errors when the folder
  // does not let us write.
  virtual Status MakeFirst() = 0;
  // Makes the file again after GiveUp. False while less than twice its size is free.
  virtual bool MakeAgain() = 0;
  // Removes the file. False when there was none.
  virtual bool GiveUp() = 0;
};

class DiskReserve final : public Reserve {
 public:
  // Empty path or 0 bytes: never holds anything and is always "made".
  DiskReserve(std::string path, int64_t bytes) : path_(std::move(path)), bytes_(bytes) {}

  Status MakeFirst() override;
  bool MakeAgain() override;
  bool GiveUp() override;

 private:
  Status Allocate();

  std::string path_;
  int64_t bytes_;
  bool held_ = false;
};

}  // namespace cyxwiz::central
