#include "data/roots.h"

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <memory>

namespace cyxwiz::data {
namespace {

namespace fs = std::filesystem;

// The path without symlinks and ".."; empty, with errno set, when it does not exist or cannot be
// reached.
std::string RealPath(const std::string& path) {
  std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr), &std::free);
  return real ? real.get() : "";
}

bool IsBelow(const std::string& path, const std::string& root) {
  if (root.empty()) return false;
  return path == root || root == "/" || path.starts_with(root + "/");
}

}  // namespace

Roots::Roots(const std::vector<std::string>& folders) {
  for (const std::string& folder : folders) {
    if (folder.empty()) continue;
    std::string real = RealPath(folder);
    if (real.empty()) {
      std::error_code error;
      real = fs::absolute(folder, error).lexically_normal().string();
      if (error) continue;
      while (real.size() > 1 && real.back() == '/') real.pop_back();
    }
    folders_.push_back(real);
  }
}

Result<std::string> Roots::Resolve(const std::string& path) const {
  std::string real;
  if (Fault fault = ResolvePath(*this, path, &real); !fault.ok()) return fault.ToStatus();
  return real;
}

Fault ResolvePath(const Roots& roots, const std::string& path, std::string* real) {
  const std::string shown = "'" + Shown(path, 300) + "'";
  if (path.empty() || path[0] != '/' || path.find('\0') != std::string::npos) {
    return Wrong("the data path is not usable", "an absolute path", shown);
  }
  if (roots.empty()) {
    return {Code::kPermissionDenied, shown + " is not below an allowed data folder",
            "a path below a data folder", "no data folder is configured",
            "name the folders that hold data in the configuration key data_roots; cyxwiz up and "
            "verify take --data-root DIR"};
  }
  auto is_allowed = [&roots](const std::string& resolved) {
    for (const std::string& folder : roots.folders()) {
      // Resolved again, since a folder may have appeared, or have been replaced by a link,
      // meanwhile.
      if (IsBelow(resolved, RealPath(folder))) return true;
    }
    return false;
  };
  std::string list;
  for (const std::string& folder : roots.folders()) {
    list += (list.empty() ? "'" : " or '") + folder + "'";
  }

  *real = RealPath(path);
  int error_number = errno;
  bool exists = !real->empty();
  if (exists && is_allowed(*real)) return {};
  // What exists outside the roots is nobody's business: only below them may the answer be "not
  // found".
  if (!exists) {
    std::error_code error;
    std::string nearest = fs::weakly_canonical(path, error).string();
    if (error) nearest = fs::path(path).lexically_normal().string();
    if (is_allowed(nearest)) {
      Fault fault =
          SystemFault("cannot find", path, "an existing path below " + list, error_number);
      if (fault.code == Code::kPermissionDenied) {
        fault.hint = "let the user that runs this program read it";
      } else {
        fault.code = Code::kNotFound;
      }
      return fault;
    }
  }
  // Where a link leads is told only of paths that lie in the roots themselves.
  bool link = exists && is_allowed(fs::path(path).lexically_normal().string());
  return {
      Code::kPermissionDenied, shown + " is not below an allowed data folder",
      "a path below " + list, link ? "a link that leads to '" + *real + "'" : shown,
      "put the data below such a folder, or add its folder to the configuration key data_roots; "
      "cyxwiz up and verify take --data-root DIR"};
}

}  // namespace cyxwiz::data
