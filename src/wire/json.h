// The JSON form of the wire's messages, as REST, the command line and log files show them.
//
//   field names      as in the protos: snake_case
//   singular scalars always there, also with their default; those with presence (`optional`) only
//   when set sub-messages     only when set; repeated fields and maps always, maybe empty 64-bit
//   integers  JSON numbers, exact enums            their names; a number for a value this program
//   does not know bytes            base64 (RFC 4648, padded) not finite       "NaN", "Infinity",
//   "-Infinity"
//
// This differs from protobuf's own mapping in the names, in the 64-bit integers and in the
// defaults. All functions are pure and safe on any thread.
#pragma once

#include <google/protobuf/message.h>

#include <string>

#include "base/json.h"
#include "base/status.h"

namespace cyxwiz::wire {

Json ToJson(const google::protobuf::Message& message);

// One line of text; bytes that are not UTF-8 in a string are replaced.
std::string ToJsonText(const google::protobuf::Message& message);

// Replaces `message` by what `json` says; fields that it does not name take their defaults. Strict:
// INVALID_ARGUMENT, naming the path ("$.config.epochs"), for an unknown key (with the nearest
// name), a value of another type or out of range, and null. An enum is accepted by name or number.
// After an error `message` is unspecified. `what` begins the path.
Status FromJson(const Json& json, google::protobuf::Message* message,
                const std::string& what = "$");

// Value of an enum by name or number, as FromJson takes it: for text that is not JSON, such as a
// query parameter.
Result<int> EnumFromText(const google::protobuf::EnumDescriptor& type, const std::string& text,
                         const std::string& what);

}  // namespace cyxwiz::wire
