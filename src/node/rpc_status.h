// Our Status and gRPC's: the same codes under two names.
#pragma once

#include <grpcpp/support/status.h>

#include "base/status.h"
#include "cyxwiz/protocol/common.pb.h"

namespace cyxwiz::node {

inline grpc::Status ToGrpc(const Status& status) {
  if (status.ok()) return grpc::Status::OK;
  std::string message = status.message();
  if (!status.hint().empty()) message += " (" + status.hint() + ")";
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), message);
}

inline Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return OkStatus();
  return Status(static_cast<Code>(status.error_code()), status.error_message());
}

inline protocol::Error ToWireError(const Status& status) {
  protocol::Error error;
  error.set_code(static_cast<int>(status.code()));
  error.set_message(status.message());
  error.set_details(status.hint());
  return error;
}

}  // namespace cyxwiz::node
