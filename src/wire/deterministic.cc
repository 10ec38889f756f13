#include "wire/deterministic.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>

namespace cyxwiz {
namespace {

using google::protobuf::internal::WireFormatLite;

// Cutting fields out of the bytes costs less than copying the message to clear them in the copy.
std::string Without(const std::string& bytes, std::initializer_list<int> fields) {
  std::string kept;
  kept.reserve(bytes.size());
  google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()),
                                            static_cast<int>(bytes.size()));
  while (true) {
    const auto begin = static_cast<size_t>(in.CurrentPosition());
    const uint32_t tag = in.ReadTag();
    if (tag == 0) return kept;
    WireFormatLite::SkipField(&in, tag);
    const auto end = static_cast<size_t>(in.CurrentPosition());
    if (std::find(fields.begin(), fields.end(), WireFormatLite::GetTagFieldNumber(tag)) ==
        fields.end())
      kept.append(bytes, begin, end - begin);
  }
}

}  // namespace

std::string DeterministicBytes(const google::protobuf::MessageLite& message,
                               std::initializer_list<int> without) {
  std::string bytes;
  bytes.reserve(message.ByteSizeLong());
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream out(&stream);
    out.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&out);
  }
  return without.size() == 0 ? bytes : Without(bytes, without);
}

std::string PermittedBytes(const protocol::AssignJobRequest& request) {
  return DeterministicBytes(request, {protocol::AssignJobRequest::kAuthorizationTokenFieldNumber});
}

}  // namespace cyxwiz
