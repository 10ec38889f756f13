// What is wrong with a data set, in the parts that a spec::Problem shows. Internal to src/data.
#pragma once

#include <cerrno>
#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"
#include "spec/problem.h"

namespace cyxwiz::data {

struct [[nodiscard]] Fault {
  Code code = Code::kOk;
  std::string message;  // which file, where in it, and what is wrong; one sentence
  std::string expected;
  std::string found;
  std::string hint;  // may be empty

  bool ok() const { return code == Code::kOk; }

  // "message: expected X, found Y"
  Status ToStatus() const {
    if (ok()) return OkStatus();
    std::string text = message;
    if (!expected.empty()) text += ": expected " + expected;
    if (!found.empty()) text += (expected.empty() ? ": found " : ", found ") + found;
    return Status(code, std::move(text), hint);
  }
  spec::Problem ToProblem() const { return {"$.dataset", message, expected, found, hint}; }
};

// The same in the parts that a Status has.
inline Fault FaultOf(const Status& status) {
  return {status.code(), status.message(), "", "", status.hint()};
}

inline Fault Wrong(std::string message, std::string expected, std::string found,
                   std::string hint = "") {
  return {Code::kInvalidArgument, std::move(message), std::move(expected), std::move(found),
          std::move(hint)};
}

inline Fault TooLarge(std::string message, std::string expected, std::string found,
                      std::string hint = "") {
  return {Code::kResourceExhausted, std::move(message), std::move(expected), std::move(found),
          std::move(hint)};
}

// A system call on `path` that failed; errno as it left it.
inline Fault SystemFault(std::string_view what, const std::string& path, std::string expected,
                         int error_number) {
  Status status = ErrnoStatus(what, error_number);
  std::string reason = status.message().substr(what.size() + 2);
  return {status.code(), std::string(what) + " '" + path + "'", std::move(expected),
          std::move(reason), ""};
}

// Text out of a file for a message: at most `most` bytes, what cannot be printed as \xNN.
std::string Shown(std::string_view text, size_t most = 40);

// "1 byte", "2 bytes"
inline std::string Count(int64_t n, std::string_view unit) {
  return std::to_string(n) + " " + std::string(unit) + (n == 1 ? "" : "s");
}

}  // namespace cyxwiz::data

#define RETURN_IF_FAULT(expression)              \
  do {                                           \
    ::cyxwiz::data::Fault fault_ = (expression); \
    if (!fault_.ok()) return fault_;             \
  } while (false)
