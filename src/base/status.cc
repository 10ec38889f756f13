#include "base/status.h"

#include <cstring>

namespace cyxwiz {

std::string_view CodeName(Code code) {
  switch (code) {
    case Code::kOk:
      return "OK";
    case Code::kCancelled:
      return "CANCELLED";
    case Code::kUnknown:
      return "UNKNOWN";
    case Code::kInvalidArgument:
      return "INVALID_ARGUMENT";
    case Code::kDeadlineExceeded:
      return "DEADLINE_EXCEEDED";
    case Code::kNotFound:
      return "NOT_FOUND";
    case Code::kAlreadyExists:
      return "ALREADY_EXISTS";
    case Code::kPermissionDenied:
      return "PERMISSION_DENIED";
    case Code::kResourceExhausted:
      return "RESOURCE_EXHAUSTED";
    case Code::kFailedPrecondition:
      return "FAILED_PRECONDITION";
    case Code::kAborted:
      return "ABORTED";
    case Code::kOutOfRange:
      return "OUT_OF_RANGE";
    case Code::kUnimplemented:
      return "UNIMPLEMENTED";
    case Code::kInternal:
      return "INTERNAL";
    case Code::kUnavailable:
      return "UNAVAILABLE";
    case Code::kDataLoss:
      return "DATA_LOSS";
    case Code::kUnauthenticated:
      return "UNAUTHENTICATED";
  }
  return "UNKNOWN";
}

std::string Status::ToString() const {
  std::string text(CodeName(code_));
  if (!message_.empty()) text += ": " + message_;
  if (!hint_.empty()) text += " (" + hint_ + ")";
  return text;
}

#define CYXWIZ_DEFINE_STATUS(name)                                     \
  Status name(std::string message, std::string hint) {                 \
    return Status(Code::k##name, std::move(message), std::move(hint)); \
  }
CYXWIZ_DEFINE_STATUS(InvalidArgument)
CYXWIZ_DEFINE_STATUS(NotFound)
CYXWIZ_DEFINE_STATUS(AlreadyExists)
CYXWIZ_DEFINE_STATUS(PermissionDenied)
CYXWIZ_DEFINE_STATUS(ResourceExhausted)
CYXWIZ_DEFINE_STATUS(FailedPrecondition)
CYXWIZ_DEFINE_STATUS(Unavailable)
CYXWIZ_DEFINE_STATUS(Unauthenticated)
CYXWIZ_DEFINE_STATUS(Unimplemented)
CYXWIZ_DEFINE_STATUS(DataLoss)
CYXWIZ_DEFINE_STATUS(Internal)
#undef CYXWIZ_DEFINE_STATUS

Status ErrnoStatus(std::string_view what, int error_number) {
  Code code = Code::kInternal;
  if (error_number == ENOENT) code = Code::kNotFound;
  if (error_number == EACCES || error_number == EPERM) code = Code::kPermissionDenied;
  if (error_number == ENOTDIR || error_number == EEXIST || error_number == EISDIR)
    code = Code::kFailedPrecondition;
  if (error_number == ENOSPC || error_number == EDQUOT) code = Code::kResourceExhausted;
  return Status(code, std::string(what) + ": " + std::strerror(error_number));
}

std::ostream& operator<<(std::ostream& out, const Status& status) {
  return out << status.ToString();
}

}  // namespace cyxwiz
