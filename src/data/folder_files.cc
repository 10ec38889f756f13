#include "data/folder_files.h"

#include "data/file_range.h"

namespace cyxwiz::data {
namespace {

// FNV-1a.
constexpr uint64_t kHashBegin = 0xcbf29ce484222325, kHashFactor = 0x100000001b3;

void AddToHash(int64_t number, uint64_t* hash) {
  for (int shift = 0; shift < 64; shift += 8) {
    *hash ^= static_cast<uint64_t>(number) >> shift & 255;
    *hash *= kHashFactor;
  }
}

}  // namespace

Fault FolderFiles::Add(const std::string& name, const struct stat& info) {
  const auto bytes = static_cast<int64_t>(info.st_size);
  const std::string path = name[0] == '/' ? name : folders_.back() + "/" + name;
  RETURN_IF_FAULT(CheckSampleFileSize(path, bytes));
  places_.push_back({ModifiedNs(info), static_cast<int64_t>(names_.size()),
                     static_cast<int32_t>(bytes), static_cast<int32_t>(folders_.size()) - 1});
  names_ += name;
  names_ += '\0';
  return {};
}

int64_t FolderFiles::name_bytes() const {
  // Each sample's place is 8 bytes longer than one in an archive, and begins a shard.
  return static_cast<int64_t>(names_.size()) + size() * (8 + 8);
}

std::string FolderFiles::PathOf(int64_t number) const {
  const Place& place = places_[static_cast<size_t>(number)];
  const std::string name = names_.c_str() + place.name;
  return name[0] == '/' ? name : folders_[static_cast<size_t>(place.folder)] + "/" + name;
}

Fault FolderFiles::Read(int64_t number, std::string* content, std::string* name) const {
  const Place& place = places_[static_cast<size_t>(number)];
  *name = PathOf(number);
  FileRange file;
  RETURN_IF_FAULT(file.Open(*name));
  if (file.size() != place.bytes || file.modified_ns() != place.modified_ns)
    return Changed(*name, place.bytes, file.size());
  content->resize(static_cast<size_t>(place.bytes));
  size_t got = 0;
  RETURN_IF_FAULT(file.Read(content->data(), content->size(), &got));
  if (got == content->size()) return {};
  return Wrong("'" + *name + "' is cut off", Count(place.bytes, "byte"), std::to_string(got));
}

std::string FolderFiles::State() const {
  uint64_t hash = kHashBegin;
  for (const Place& place : places_) {
    AddToHash(place.bytes, &hash);
    AddToHash(place.modified_ns, &hash);
  }
  return std::to_string(size()) + " files " + std::to_string(hash);
}

}  // namespace cyxwiz::data
