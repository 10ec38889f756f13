#include "data/images.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>
#include <vector>

#include "base/resources.h"
#include "data/byte_source.h"
#include "data/picture.h"
#include "data/resize.h"
#include "data/roots.h"

namespace cyxwiz::data {
namespace {

constexpr int64_t kMaxValueBytes = int64_t{4} << 30;
constexpr size_t kMaxImages = 1'000'000;
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

bool IsLink(const std::string& path) {
  struct stat info;
  return ::lstat(path.c_str(), &info) == 0 && S_ISLNK(info.st_mode);
}

struct ImageFile {
  std::string path;
  int64_t label = 0;
};

// One part: its images, in order.
class Part {
 public:
  explicit Part(const Roots& roots) : roots_(roots) {}

  // *classes: those of the training part; empty: this is it.
  Fault Find(const std::string& folder, std::vector<std::string>* classes) {
    const bool first = classes->empty();
    std::vector<std::string> names;
    RETURN_IF_FAULT(List(folder, kMaxImages, &names));
    for (const std::string& name : names) {
      std::string path;
      RETURN_IF_FAULT(Resolve(folder + "/" + name, &path));
      if (!IsFolder(path)) continue;
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
    if (!files_.empty()) return {};
    return Wrong("folder '" + folder + "' has no images",
                 "a folder for each class, with PNG or JPEG files", "none",
                 "put each class into a folder of its own");
  }

  const std::vector<ImageFile>& files() const { return files_; }

 private:
  Fault FindClass(const std::string& folder, int64_t label) {
    std::vector<std::string> names;
    RETURN_IF_FAULT(List(folder, kMaxImages, &names));
    const size_t before = files_.size();
    for (const std::string& name : names) {
      if (!IsImageName(name)) continue;
      if (files_.size() == kMaxImages) {
        return TooLarge("there are too many images", "at most " + std::to_string(kMaxImages),
                        "more by folder '" + folder + "'");
      }
      ImageFile file{"", label};
      RETURN_IF_FAULT(Resolve(folder + "/" + name, &file.path));
      files_.push_back(std::move(file));
    }
    if (files_.size() > before) return {};
    return Wrong("folder '" + folder + "' has no images",
                 "files that end in .png, .jpg or .jpeg, as every class has",
                 names.empty() ? "an empty folder" : "'" + Shown(names[0]) + "'",
                 "remove the folder if it is no class");
  }

  // Only a link can leave a folder that is below the roots; opening follows none.
  Fault Resolve(const std::string& path, std::string* real) const {
    *real = path;
    return IsLink(path) ? ResolvePath(roots_, path, real) : Fault();
  }

  const Roots& roots_;
  std::vector<ImageFile> files_;
};

Fault ReadContent(const std::string& path, std::string* content) {
  ByteSource source;
  RETURN_IF_FAULT(source.Open(path));
  if (source.file_bytes() > kMaxPictureFileBytes) {
    return TooLarge("image '" + path + "' is too large",
                    "at most " + FormatBytes(kMaxPictureFileBytes),
                    FormatBytes(source.file_bytes()));
  }
  content->resize(static_cast<size_t>(source.file_bytes()));
  size_t got = 0;
  RETURN_IF_FAULT(source.Read(content->data(), content->size(), &got));
  content->resize(got);
  return {};
}

Fault LoadPart(const Part& part, const std::vector<int64_t>& shape, bool resizes, Split* split) {
  const int64_t channels = shape[0], height = shape[1], width = shape[2];
  const size_t sample = static_cast<size_t>(channels * height * width);
  split->samples = static_cast<int64_t>(part.files().size());
  std::vector<uint8_t> values;
  values.reserve(sample * part.files().size());
  std::vector<int64_t> labels;
  std::string content;
  Picture picture;
  for (const ImageFile& file : part.files()) {
    RETURN_IF_FAULT(ReadContent(file.path, &content));
    RETURN_IF_FAULT(DecodePicture(content, file.path, channels, &picture));
    if (!resizes && (picture.height != height || picture.width != width)) {
      return Wrong("image '" + file.path + "' is of another size than the first",
                   std::to_string(height) + "x" + std::to_string(width),
                   std::to_string(picture.height) + "x" + std::to_string(picture.width),
                   "size=" + std::to_string(height) + "x" + std::to_string(width) +
                       " makes all of that size");
    }
    values.resize(values.size() + sample);
    Resize(picture, height, width, values.data() + values.size() - sample);
    labels.push_back(file.label);
  }
  split->features = std::move(values);
  split->labels = std::move(labels);
  return {};
}

}  // namespace

Fault ReadImageFolder(const std::string& folder, const spec::DatasetUri& uri, const Roots& roots,
                      Raw* raw) {
  if (!IsFolder(folder)) {
    return Wrong("'" + folder + "' is not a folder", "a folder with a folder for each class",
                 "a file");
  }
  std::vector<std::string> classes;
  Part train(roots), test(roots);
  std::string train_folder = folder, test_folder = folder + "/test";
  if (IsFolder(folder + "/train")) {
    RETURN_IF_FAULT(ResolvePath(roots, folder + "/train", &train_folder));
    RETURN_IF_FAULT(train.Find(train_folder, &classes));
    if (IsFolder(test_folder)) {
      RETURN_IF_FAULT(ResolvePath(roots, test_folder, &test_folder));
      RETURN_IF_FAULT(test.Find(test_folder, &classes));
    }
  } else {
    RETURN_IF_FAULT(train.Find(folder, &classes));
  }
  std::string content;
  Picture first;
  const std::string& first_path = train.files()[0].path;
  RETURN_IF_FAULT(ReadContent(first_path, &content));
  RETURN_IF_FAULT(InspectPicture(content, first_path, &first));
  const bool resizes = uri.images.height > 0;
  spec::DatasetInfo& info = raw->info;
  info.sample_shape = SampleShape(uri.images, first);
  info.train_samples = static_cast<int64_t>(train.files().size());
  info.test_samples = static_cast<int64_t>(test.files().size());
  info.classes = static_cast<int64_t>(classes.size());
  raw->format = "images " + ShapeText(info.sample_shape);
  raw->value_bytes = 1;
  raw->label_bytes = static_cast<int64_t>(sizeof(int64_t));
  const int64_t sample = info.sample_shape[0] * info.sample_shape[1] * info.sample_shape[2];
  const int64_t images = info.train_samples + info.test_samples;
  if (images > kMaxValueBytes / sample) {
    return TooLarge("the images of '" + folder + "' are too many or too large",
                    "at most " + FormatBytes(kMaxValueBytes) + " of values",
                    std::to_string(images) + " of " + ShapeText(info.sample_shape),
                    "give a smaller size=");
  }
  if (raw->dataset == nullptr) return {};
  raw->dataset->details["classes"] = classes;
  RETURN_IF_FAULT(LoadPart(train, info.sample_shape, resizes, &raw->dataset->train));
  if (info.test_samples == 0) return {};
  return LoadPart(test, info.sample_shape, resizes, &raw->dataset->test);
}

}  // namespace cyxwiz::data
