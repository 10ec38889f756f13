#include "central/refusal.h"

#include <string>
#include <utility>

#include "central/convert.h"

namespace cyxwiz::central {
namespace {

// Clients accept 8 KiB of metadata in all, the error message included.
constexpr size_t kMostTrailerBytes = 4000;
constexpr size_t kMostProblemTextBytes = 400;
constexpr char kSubmitResponseTrailer[] = "cyxwiz-submit-response-bin";

}  // namespace

void AddRefusal(protocol::SubmitJobResponse response, grpc::CallbackServerContext* context) {
  response.mutable_error()->set_message(Clip(response.error().message(), kMostProblemTextBytes));
  google::protobuf::RepeatedPtrField<protocol::Problem> all;
  all.Swap(response.mutable_problems());
  for (protocol::Problem& problem : all) {
    for (std::string* text :
         {problem.mutable_path(), problem.mutable_message(), problem.mutable_expected(),
          problem.mutable_found(), problem.mutable_hint()}) {
      *text = Clip(*text, kMostProblemTextBytes);
    }
    *response.add_problems() = std::move(problem);
    if (response.ByteSizeLong() > kMostTrailerBytes) {
      response.mutable_problems()->RemoveLast();
      break;
    }
  }
  context->AddTrailingMetadata(kSubmitResponseTrailer, response.SerializeAsString());
}

}  // namespace cyxwiz::central
