#include "wire/deterministic.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

namespace cyxwiz {

std::string DeterministicBytes(const google::protobuf::MessageLite& message) {
  std::string bytes;
  bytes.reserve(message.ByteSizeLong());
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream out(&stream);
    out.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&out);
  }
  return bytes;
}

std::string PermittedBytes(const protocol::AssignJobRequest& request) {
  protocol::AssignJobRequest permitted = request;
  permitted.clear_authorization_token();
  return DeterministicBytes(permitted);
}

}  // namespace cyxwiz
