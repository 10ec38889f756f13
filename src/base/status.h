// Errors are values: a Status says whether something worked, and if not, why and what to do about
// it.
#pragma once

#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace cyxwiz {

// The codes of gRPC under their own names, so that a front end maps them one to one.
enum class Code {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

std::string_view CodeName(Code code);  // "NOT_FOUND"

class [[nodiscard]] Status {
 public:
  Status() = default;
  // message: what was expected, what was found, where. hint: what to do; may be empty.
  Status(Code code, std::string message, std::string hint = "")
      : code_(code), message_(std::move(message)), hint_(std::move(hint)) {}

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }
  const std::string& hint() const { return hint_; }
  // "NOT_FOUND: message (hint)"
  std::string ToString() const;

 private:
  Code code_ = Code::kOk;
  std::string message_;
  std::string hint_;
};

inline Status OkStatus() { return Status(); }
Status InvalidArgument(std::string message, std::string hint = "");
Status NotFound(std::string message, std::string hint = "");
Status AlreadyExists(std::string message, std::string hint = "");
Status PermissionDenied(std::string message, std::string hint = "");
Status ResourceExhausted(std::string message, std::string hint = "");
Status FailedPrecondition(std::string message, std::string hint = "");
Status Unavailable(std::string message, std::string hint = "");
Status Unauthenticated(std::string message, std::string hint = "");
Status Unimplemented(std::string message, std::string hint = "");
Status DataLoss(std::string message, std::string hint = "");
Status Internal(std::string message, std::string hint = "");
// `what` followed by the text of errno.
Status ErrnoStatus(std::string_view what, int error_number);

std::ostream& operator<<(std::ostream& out, const Status& status);

// A value, or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : content_(std::move(value)) {}         // NOLINT: implicit on purpose
  Result(Status status) : content_(std::move(status)) {}  // NOLINT: implicit on purpose

  bool ok() const { return std::holds_alternative<T>(content_); }
  const Status& status() const {
    static const Status kOkStatus;
    return ok() ? kOkStatus : std::get<Status>(content_);
  }
  const T& value() const& { return std::get<T>(content_); }
  T& value() & { return std::get<T>(content_); }
  T&& value() && { return std::get<T>(std::move(content_)); }
  const T& operator*() const& { return value(); }
  T& operator*() & { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  const T* operator->() const { return &value(); }
  T* operator->() { return &value(); }

 private:
  std::variant<Status, T> content_;
};

}  // namespace cyxwiz

#define CYXWIZ_CONCAT_(a, b) a##b
#define CYXWIZ_CONCAT(a, b) CYXWIZ_CONCAT_(a, b)

// Returns the Status of `expression` to the caller when it is not ok.
#define RETURN_IF_ERROR(expression)          \
  do {                                       \
    ::cyxwiz::Status status_ = (expression); \
    if (!status_.ok()) return status_;       \
  } while (false)

// `target` = the value of the Result `expression`, or returns its Status to the caller.
#define ASSIGN_OR_RETURN(target, expression) \
  ASSIGN_OR_RETURN_(CYXWIZ_CONCAT(result_, __LINE__), target, expression)
#define ASSIGN_OR_RETURN_(result, target, expression) \
  auto result = (expression);                         \
  if (!result.ok()) return result.status();           \
  target = std::move(result).value()
