// Between what the control core knows and what travels on the wire. Pure functions.
#pragma once

#include <grpcpp/support/status.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "control/control.h"
#include "cyxwiz/protocol/control.pb.h"
#include "cyxwiz/protocol/job.pb.h"
#include "cyxwiz/protocol/node.pb.h"
#include "spec/problem.h"

namespace cyxwiz::central {

// The same code; the hint follows the message in parentheses. Messages are cut at 2000 bytes: gRPC
// clients accept 8 KiB of metadata.
grpc::Status ToGrpc(const Status& status);
Status FromGrpc(const grpc::Status& status);

protocol::StatusCode ToStatusCode(control::JobState state);
// The states a ListJobs filter means; empty for STATUS_UNKNOWN (all); nullopt for a code that no
// job has.
std::optional<std::vector<control::JobState>> StatesOf(protocol::StatusCode code);

void ToJobStatus(const control::JobView& view, protocol::JobStatus* status);
// Who a client is, for control: the user that it says it is for, where that is a plain word, and
// its address without the port; either may be empty.
std::string ClientActor(std::string_view user, std::string_view address);
// Call only for a job that has ended.
void ToJobResult(const control::Job& job, protocol::JobResult* result);
// The job as submitted, with job_id, name and user_id.
void ToJobConfig(const control::Job& job, const control::JobBody& body,
                 protocol::JobConfig* config);
void ToNodeInfo(const control::NodeView& view, protocol::NodeInfo* info);
void ToEvent(const control::Event& event, protocol::Event* out);
void ToReasons(const std::vector<scheduler::Reason>& reasons,
               google::protobuf::RepeatedPtrField<protocol::Reason>* list);
void ToProblems(const spec::Problems& problems,
                google::protobuf::RepeatedPtrField<protocol::Problem>* list);

std::vector<AttemptId> FromAttemptRefs(
    const google::protobuf::RepeatedPtrField<protocol::AttemptRef>& refs);

void ToCheckpoint(const control::Checkpoint& checkpoint, protocol::Checkpoint* out);
// No files when the wire's has none; INVALID_ARGUMENT when it cannot be one.
Result<control::Checkpoint> FromCheckpoint(const protocol::Checkpoint& checkpoint);

// "artifact://sha256/<hex>"
std::string ArtifactUri(const std::string& sha256);
// The hex of "artifact://sha256/<hex>" or "sha256:<hex>"; "" for anything else. The hex is not
// checked.
std::string Sha256OfUri(const std::string& uri);

// At most `most` bytes of `text`, not cutting a UTF-8 character, "..." in place of the rest.
std::string Clip(const std::string& text, size_t most);

}  // namespace cyxwiz::central
