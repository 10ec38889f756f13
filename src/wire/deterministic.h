// Messages as bytes that both ends of a call compute alike, for hashes and signatures.
#pragma once

#include <google/protobuf/message_lite.h>

#include <initializer_list>
#include <string>

#include "cyxwiz/protocol/node.pb.h"

namespace cyxwiz {

// Equal messages give equal bytes: maps are in the order of their keys. `without`: numbers of
// fields of the message itself that are left out, as if they were not set.
std::string DeterministicBytes(const google::protobuf::MessageLite& message,
                               std::initializer_list<int> without = {});

// What a job token permits: all of the request but the token itself.
std::string PermittedBytes(const protocol::AssignJobRequest& request);

}  // namespace cyxwiz
