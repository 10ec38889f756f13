// Messages as bytes that both ends of a call compute alike, for hashes and signatures.
#pragma once

#include <google/protobuf/message_lite.h>

#include <string>

#include "cyxwiz/protocol/node.pb.h"

namespace cyxwiz {

// Equal messages give equal bytes: maps are in the order of their keys.
std::string DeterministicBytes(const google::protobuf::MessageLite& message);

// What a job token permits: all of the request but the token itself.
std::string PermittedBytes(const protocol::AssignJobRequest& request);

}  // namespace cyxwiz
