#include "data/images.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>
#include <vector>

#include "data/file_rows.h"
#include "data/folder_files.h"
#include "data/picture.h"
#include "data/picture_rows.h"
#include "data/roots.h"

namespace cyxwiz::data {
namespace {

constexpr size_t kMaxImages = 2'000'000;
constexpr size_t kMaxClasses = 65536;

bool IsImageName(const std::string& name) {
  std::string lower = name;
  for (char& c : lower) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return lower.ends_with(".png") || lower.ends_with(".jpg") || lower.ends_with(".jpeg");
}

// The names in a folder, sorted, without those that begin with a dot.
Fault List(const std::string& folder, size_t most, std::vector<std::string>* names) {
  std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(folder.c_str()), &::closedir);
  if (!stream) return SystemFault("cannot list", folder, "a folder", errno);
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());
    if (entry == nullptr) break;
    if (entry->d_name[0] == '.') continue;
    if (names->size() == most) {
      return TooLarge("folder '" + folder + "' holds too much", "at most " + std::to_string(most),
                      "more");
    }
    names->emplace_back(entry->d_name);
  }
  if (errno != 0) return SystemFault("cannot list", folder, "a folder", errno);
  std::sort(names->begin(), names->end());
  return {};
}

bool IsFolder(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

// One part: its images, in order.
class Part {
 public:
  // most: images that it may have.
  Part(const Roots& roots, size_t most) : roots_(roots), most_(most) {}

  // *classes: those of the training part; empty: this is it.
  Fault Find(const std::string& folder, std::vector<std::string>* classes) {
    const bool first = classes->empty();
    std::vector<std::string> names;
    RETURN_IF_FAULT(List(folder, most_, &names));
    for (const std::string& name : names) {
      std::string path;
      struct stat info;
      RETURN_IF_FAULT(Resolve(folder + "/" + name, &path, &info));
      if (!S_ISDIR(info.st_mode)) continue;
      auto known = std::lower_bound(classes->begin(), classes->end(), name);
      if (first) {
        if (classes->size() == kMaxClasses) {
          return TooLarge("folder '" + folder + "' holds too many classes",
                          "at most " + std::to_string(kMaxClasses), "more");
        }
        classes->push_back(name);
        known = classes->end() - 1;
      } else if (known == classes->end() || *known != name) {
        return Wrong("folder '" + path + "' is of no class of the training part",
                     "a folder of the same name beside the training images",
                     "'" + Shown(name) + "'");
      }
      RETURN_IF_FAULT(FindClass(path, known - classes->begin()));
    }
    if (!labels_.empty()) return {};
    return Wrong("folder '" + folder + "' has no images",
                 "a folder for each class, with PNG or JPEG files", "none",
                 "put each class into a folder of its own");
  }

  const std::shared_ptr<FolderFiles>& files() const { return files_; }
  std::vector<int64_t>& labels() { return labels_; }

 private:
  Fault FindClass(const std::string& folder, int64_t label) {
    std::vector<std::string> names;
    RETURN_IF_FAULT(List(folder, most_, &names));
    const size_t before = labels_.size();
    files_->AddFolder(folder);
    for (const std::string& name : names) {
      if (!IsImageName(name)) continue;
      if (labels_.size() == most_) {
        return TooLarge("there are too many images", "at most " + std::to_string(most_),
                        "more by folder '" + folder + "'");
      }
      const std::string path = folder + "/" + name;
      std::string real;
      struct stat info;
      RETURN_IF_FAULT(Resolve(path, &real, &info));
      RETURN_IF_FAULT(files_->Add(real == path ? name : real, info));
      labels_.push_back(label);
    }
    if (labels_.size() > before) return {};
    return Wrong("folder '" + folder + "' has no images",
                 "files that end in .png, .jpg or .jpeg, as every class has",
                 names.empty() ? "an empty folder" : "'" + Shown(names[0]) + "'",
                 "remove the folder if it is no class");
  }

  // Only a link can leave a folder that is below the roots; opening follows none. info: of what it
  // leads to.
  Fault Resolve(const std::string& path, std::string* real, struct stat* info) const {
    *real = path;
    if (::lstat(path.c_str(), info) == 0 && S_ISLNK(info->st_mode))
      RETURN_IF_FAULT(ResolvePath(roots_, path, real));
    if (::lstat(real->c_str(), info) == 0) return {};
    return SystemFault("cannot inspect", *real, "an image", errno);
  }

  const Roots& roots_;
  const size_t most_;
  const std::shared_ptr<FolderFiles> files_ = std::make_shared<FolderFiles>();
  std::vector<int64_t> labels_;  // of each file
};

// The images stay in their files.
void LeavePart(Part* part, const std::vector<int64_t>& shape, bool resizes, Split* split) {
  LeaveInFiles(std::make_shared<PictureRows>(part->files(), shape, resizes), part->files()->size(),
               /*floats=*/false, split);
  split->labels = std::move(part->labels());
}

// *test stays empty when there is none.
Fault FindParts(const std::string& folder, const Roots& roots, Part* train, Part* test,
                std::vector<std::string>* classes) {
  if (!IsFolder(folder)) {
    return Wrong("'" + folder + "' is not a folder", "a folder with a folder for each class",
                 "a file");
  }
  if (!IsFolder(folder + "/train")) return train->Find(folder, classes);
  std::string train_folder, test_folder;
  RETURN_IF_FAULT(ResolvePath(roots, folder + "/train", &train_folder));
  RETURN_IF_FAULT(train->Find(train_folder, classes));
  if (!IsFolder(folder + "/test")) return {};
  RETURN_IF_FAULT(ResolvePath(roots, folder + "/test", &test_folder));
  return test->Find(test_folder, classes);
}

}  // namespace

Fault ListImages(const std::string& folder, const Roots& roots, size_t most,
                 std::vector<std::string>* paths) {
  std::vector<std::string> classes;
  Part train(roots, most), test(roots, most);
  RETURN_IF_FAULT(FindParts(folder, roots, &train, &test, &classes));
  for (const Part* part : {&train, &test}) {
    for (int64_t i = 0; i < part->files()->size(); ++i) paths->push_back(part->files()->PathOf(i));
  }
  if (paths->size() <= most) return {};
  return TooLarge("there are too many images", "at most " + std::to_string(most),
                  std::to_string(paths->size()));
}

Fault ReadImageFolder(const std::string& folder, const spec::DatasetUri& uri, const Roots& roots,
                      Raw* raw) {
  std::vector<std::string> classes;
  Part train(roots, kMaxImages), test(roots, kMaxImages);
  RETURN_IF_FAULT(FindParts(folder, roots, &train, &test, &classes));
  std::string content, name;
  Picture first;
  RETURN_IF_FAULT(train.files()->Read(0, &content, &name));
  RETURN_IF_FAULT(InspectPicture(content, name, &first));
  const bool resizes = uri.images.height > 0;
  spec::DatasetInfo& info = raw->info;
  info.sample_shape = SampleShape(uri.images, first);
  info.train_samples = train.files()->size();
  info.test_samples = test.files()->size();
  info.classes = static_cast<int64_t>(classes.size());
  info.can_stream = true;
  raw->format = "images " + ShapeText(info.sample_shape);
  raw->value_bytes = 1;
  raw->label_bytes = static_cast<int64_t>(sizeof(int64_t));
  raw->stream_bytes = uri.stream.memory_bytes;
  raw->name_bytes = train.files()->name_bytes() + test.files()->name_bytes();
  if (raw->dataset == nullptr) return {};
  raw->dataset->details["classes"] = classes;
  LeavePart(&train, info.sample_shape, resizes, &raw->dataset->train);
  if (info.test_samples > 0) LeavePart(&test, info.sample_shape, resizes, &raw->dataset->test);
  return {};
}

}  // namespace cyxwiz::data
