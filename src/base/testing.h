// What tests of several folders share.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <stdexcept>
#include <string>

#include "base/file.h"
#include "base/json.h"

namespace cyxwiz {

// A folder of the test's own, deleted with all that is in it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "cyxwiz-test-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr)
      throw std::runtime_error("cannot make a folder like '" + pattern + "'");
    path_ = pattern;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// What a script of tests/golden has recorded.
inline Json ReadGolden(const std::string& path) {
  Result<std::string> text = ReadFile(path);
  if (!text.ok()) throw std::runtime_error(text.status().ToString());
  return *ParseJson(*text, path);
}

// For a program that is started next and dies on purpose: a sanitizer would turn its crash into an
// exit code of its own.
inline void LeaveCrashesToTheSystem() {
  for (const char* name : {"ASAN_OPTIONS", "TSAN_OPTIONS"}) {
    const char* given = ::getenv(name);
    std::string options = given == nullptr ? "" : std::string(given) + ":";
    ::setenv(name, (options + "handle_segv=0").c_str(), 1);
  }
}

}  // namespace cyxwiz
