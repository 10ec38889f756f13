// What clients can ask of the Central Server, in messages of the wire, whichever front end (gRPC or
// REST) they come by. Every method answers through a callback, exactly once, on any thread; the
// callback must not block. Errors are a Status; nothing is answered in a half-filled message (the
// exception: `problems` of a refused SubmitJob).
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/status.h"
#include "central/core.h"
#include "central/dataset_pieces.h"
#include "cyxwiz/protocol/control.pb.h"
#include "cyxwiz/protocol/dataset.pb.h"
#include "cyxwiz/protocol/job.pb.h"
#include "cyxwiz/protocol/log.pb.h"
#include "cyxwiz/protocol/node.pb.h"

namespace cyxwiz::central {

template <typename T>
using Done = std::function<void(Status, T)>;

// A stream to one client. Destroying it ends it; no callback runs after the destructor has
// returned.
class Subscription {
 public:
  virtual ~Subscription() = default;
};

class Api {
 public:
  virtual ~Api() = default;

  // actor: who asks (control/actors.h).

  // A refused job: INVALID_ARGUMENT, and response.problems (field 100) holds every problem.
  virtual void SubmitJob(const protocol::SubmitJobRequest& request,
                         Done<protocol::SubmitJobResponse> done) = 0;
  virtual void GetJobStatus(const protocol::GetJobStatusRequest& request,
                            Done<protocol::GetJobStatusResponse> done) = 0;
  virtual void CancelJob(const protocol::CancelJobRequest& request, const std::string& actor,
                         Done<protocol::CancelJobResponse> done) = 0;
  virtual void ListJobs(const protocol::ListJobsRequest& request,
                        Done<protocol::ListJobsResponse> done) = 0;
  virtual void DeleteJob(const protocol::DeleteJobRequest& request, const std::string& actor,
                         Done<protocol::DeleteJobResponse> done) = 0;
  virtual void ListNodes(const protocol::ListNodesRequest& request,
                         Done<protocol::ListNodesResponse> done) = 0;
  virtual void FindNodes(const protocol::FindNodesRequest& request,
                         Done<protocol::FindNodesResponse> done) = 0;
  virtual void GetNodeInfo(const protocol::GetNodeInfoRequest& request,
                           Done<protocol::GetNodeInfoResponse> done) = 0;

  // Operating jobs and nodes; see control.proto.
  virtual void PauseJob(const protocol::PauseJobRequest& request, const std::string& actor,
                        Done<protocol::JobResponse> done) = 0;
  virtual void ResumeJob(const protocol::ResumeJobRequest& request, const std::string& actor,
                         Done<protocol::JobResponse> done) = 0;
  virtual void SetJobPriority(const protocol::SetJobPriorityRequest& request,
                              const std::string& actor, Done<protocol::JobResponse> done) = 0;
  virtual void RetryJob(const protocol::RetryJobRequest& request, const std::string& actor,
                        Done<protocol::JobResponse> done) = 0;
  virtual void CancelJobs(const protocol::CancelJobsRequest& request, const std::string& actor,
                          Done<protocol::CancelJobsResponse> done) = 0;
  virtual void ExplainJob(const protocol::ExplainJobRequest& request,
                          Done<protocol::JobPlan> done) = 0;
  // A wrong job: INVALID_ARGUMENT with response.problems, as SubmitJob.
  virtual void PlanJob(const protocol::PlanJobRequest& request,
                       Done<protocol::PlanJobResponse> done) = 0;
  virtual void ListEvents(const protocol::ListEventsRequest& request,
                          Done<protocol::ListEventsResponse> done) = 0;
  virtual void CordonNode(const protocol::CordonNodeRequest& request, const std::string& actor,
                          Done<protocol::NodeResponse> done) = 0;
  virtual void UncordonNode(const protocol::UncordonNodeRequest& request, const std::string& actor,
                            Done<protocol::NodeResponse> done) = 0;
  virtual void ForgetNode(const protocol::ForgetNodeRequest& request, const std::string& actor,
                          Done<protocol::ForgetNodeResponse> done) = 0;

  // Data sets that the server keeps; see dataset.proto.
  virtual void PutDataset(const protocol::PutDatasetRequest& request,
                          Done<protocol::PutDatasetResponse> done) = 0;
  // A piece of a file, for clients without streams.
  virtual void StoreDatasetPiece(DatasetPiece piece, Done<DatasetPieceStored> done) = 0;
  virtual void ListDatasets(const protocol::ListDatasetsRequest& request,
                            Done<protocol::ListDatasetsResponse> done) = 0;
  virtual void RemoveDataset(const protocol::RemoveDatasetRequest& request,
                             Done<protocol::RemoveDatasetResponse> done) = 0;

  // Sends the present status at once, then one update at every change; on_end once, after the
  // update with the final state (OK), or with the reason (NOT_FOUND, ...). A follower that does not
  // keep up skips intermediate progress, never a change of state: on_update returns false while it
  // cannot take more, and Resume() asks for the newest again.
  class Follower : public Subscription {
   public:
    virtual void Resume() = 0;
  };
  virtual std::unique_ptr<Follower> Follow(
      const std::string& job_id, std::function<bool(const protocol::JobUpdateStream&)> on_update,
      std::function<void(Status)> on_end) = 0;

  // Events after request.after and from then on; on_event returns false while it cannot take more.
  // on_begin, which may be empty: once, before all others, when nothing is wrong with the request.
  virtual std::unique_ptr<Follower> FollowEvents(
      const protocol::ListEventsRequest& request,
      std::function<bool(const protocol::Event&)> on_event, std::function<void(Status)> on_end,
      std::function<void()> on_begin) = 0;

  // Fetches an attempt's log from the node that keeps it.
  virtual std::unique_ptr<Subscription> ReadLog(
      const protocol::ReadLogRequest& request,
      std::function<void(const protocol::LogChunk&)> on_chunk,
      std::function<void(Status)> on_end) = 0;

  // Whether the server can take work: store open, core running, disk not full.
  virtual Status Ready() const = 0;
  virtual control::Counters counters() const = 0;
  // How many queued jobs wait for what (control::WaitingReply).
  virtual void CountWaiting(Done<std::map<std::string, int64_t>> done) = 0;
};

}  // namespace cyxwiz::central
