// What the tests of the REST side share: an HTTP client so plain that it can send anything, and an
// Api that answers from memory.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <condition_variable>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "central/api.h"

namespace cyxwiz::central {

struct ClientResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;

  Json json() const { return Json::parse(body); }
};

// One connection to a server on 127.0.0.1. Every read fails the test after 10 s.
class Client {
 public:
  explicit Client(int port, int receive_buffer = 0) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer > 0)
      ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0)
        << std::strerror(errno);
  }

  void Send(std::string_view text) {
    while (!text.empty()) {
      ssize_t n = ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) return;  // refused halfway: the answer says why
      text.remove_prefix(static_cast<size_t>(n));
    }
  }

  // False at the end of the connection.
  bool ReadMore() {
    pollfd poll_fd{fd_.get(), POLLIN, 0};
    if (::poll(&poll_fd, 1, 10'000) <= 0) {
      ADD_FAILURE() << "no answer within 10 s; so far: " << received_;
      return false;
    }
    char buffer[1 << 16];
    ssize_t n = ::recv(fd_.get(), buffer, sizeof buffer, 0);
    if (n <= 0) return false;
    received_.append(buffer, static_cast<size_t>(n));
    return true;
  }

  // Reads a response's head; the body only when has_body and a Content-Length is given.
  ClientResponse Read(bool has_body = true) {
    ClientResponse response;
    size_t end;
    while ((end = received_.find("\r\n\r\n")) == std::string::npos) {
      if (!ReadMore()) return response;
    }
    std::string head = received_.substr(0, end);
    received_.erase(0, end + 4);
    response.status = std::stoi(head.substr(9, 3));
    for (size_t line = head.find("\r\n"); line != std::string::npos;) {
      size_t next = head.find("\r\n", line + 2);
      std::string text = head.substr(line + 2, next == std::string::npos ? next : next - line - 2);
      size_t colon = text.find(':');
      std::string name = text.substr(0, colon);
      for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      response.headers[name] = text.substr(colon + 2);
      line = next;
    }
    size_t length = response.headers.count("content-length")
                        ? std::stoul(response.headers["content-length"])
                        : 0;
    if (!has_body) return response;
    while (received_.size() < length) {
      if (!ReadMore()) return response;
    }
    response.body = received_.substr(0, length);
    received_.erase(0, length);
    return response;
  }

  // The next piece of a chunked body; "" at its end.
  std::string ReadChunk() {
    size_t end;
    while ((end = received_.find("\r\n")) == std::string::npos) {
      if (!ReadMore()) return "";
    }
    size_t length = std::stoul(received_.substr(0, end), nullptr, 16);
    while (received_.size() < end + 2 + length + 2) {
      if (!ReadMore()) return "";
    }
    std::string piece = received_.substr(end + 2, length);
    received_.erase(0, end + 2 + length + 2);
    return piece;
  }

  bool IsClosed() {
    while (ReadMore()) {
    }
    return received_.empty();
  }

  ClientResponse Call(const std::string& method, const std::string& target,
                      const std::string& body = "", const std::string& headers = "") {
    std::string text = method + " " + target + " HTTP/1.1\r\nHost: localhost\r\n" + headers;
    if (!body.empty()) text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    if (!body.empty() && headers.find("Content-Type") == std::string::npos)
      text += "Content-Type: application/json\r\n";
    Send(text + "\r\n" + body);
    return Read(method != "HEAD");
  }

 private:
  UniqueFd fd_;
  std::string received_;
};

// Knows job "j1" and node "n1"; keeps what it was asked.
class FakeApi : public Api {
 public:
  void SubmitJob(const protocol::SubmitJobRequest& request,
                 Done<protocol::SubmitJobResponse> done) override {
    std::lock_guard lock(mutex);
    submitted.push_back(request);
    protocol::SubmitJobResponse response;
    if (request.config().epochs() < 0) {
      protocol::Problem* problem = response.add_problems();
      problem->set_path("$.epochs");
      problem->set_message("epochs must be positive");
      return done(InvalidArgument("the job has 1 problem", "see problems"), response);
    }
    if (hold_submits) return held.push_back(std::move(done));
    response.set_job_id("j 1");
    response.set_status(protocol::STATUS_PENDING);
    done(OkStatus(), response);
  }
  void GetJobStatus(const protocol::GetJobStatusRequest& request,
                    Done<protocol::GetJobStatusResponse> done) override {
    protocol::GetJobStatusResponse response;
    if (request.job_id() != "j1") return done(NoJob(request.job_id()), response);
    response.mutable_status()->set_job_id("j1");
    response.mutable_status()->set_progress(0.5);
    done(OkStatus(), response);
  }
  void CancelJob(const protocol::CancelJobRequest& request, const std::string& /*actor*/,
                 Done<protocol::CancelJobResponse> done) override {
    if (request.job_id() != "j1") return done(NoJob(request.job_id()), {});
    {
      std::lock_guard lock(mutex);
      cancel_reason = request.reason();
    }
    protocol::CancelJobResponse response;
    response.set_status(protocol::STATUS_CANCELLED);
    done(OkStatus(), response);
  }
  void ListJobs(const protocol::ListJobsRequest& request,
                Done<protocol::ListJobsResponse> done) override {
    {
      std::lock_guard lock(mutex);
      listed = request;
    }
    protocol::ListJobsResponse response;
    response.add_jobs()->set_job_id("j1");
    done(OkStatus(), response);
  }
  void DeleteJob(const protocol::DeleteJobRequest& request, const std::string& /*actor*/,
                 Done<protocol::DeleteJobResponse> done) override {
    if (request.job_id() != "j1") return done(NoJob(request.job_id()), {});
    protocol::DeleteJobResponse response;
    response.set_status(protocol::STATUS_SUCCESS);
    done(OkStatus(), response);
  }
  void PauseJob(const protocol::PauseJobRequest& request, const std::string& /*actor*/,
                Done<protocol::JobResponse> done) override {
    if (request.job_id() != "j1") return done(NoJob(request.job_id()), {});
    protocol::JobResponse response;
    response.mutable_status()->set_job_id(request.job_id());
    done(OkStatus(), response);
  }
  void ResumeJob(const protocol::ResumeJobRequest& request, const std::string& /*actor*/,
                 Done<protocol::JobResponse> done) override {
    if (request.job_id() != "j1") return done(NoJob(request.job_id()), {});
    protocol::JobResponse response;
    response.mutable_status()->set_job_id(request.job_id());
    done(OkStatus(), response);
  }
  void SetJobPriority(const protocol::SetJobPriorityRequest& request, const std::string& /*actor*/,
                      Done<protocol::JobResponse> done) override {
    if (request.job_id() != "j1") return done(NoJob(request.job_id()), {});
    protocol::JobResponse response;
    response.mutable_status()->set_job_id(request.job_id());
    response.mutable_status()->set_priority(request.priority());
    done(OkStatus(), response);
  }
  void RetryJob(const protocol::RetryJobRequest& request, const std::string& /*actor*/,
                Done<protocol::JobResponse> done) override {
    if (request.job_id() != "j1") return done(NoJob(request.job_id()), {});
    protocol::JobResponse response;
    response.mutable_status()->set_job_id(request.job_id());
    done(OkStatus(), response);
  }
  void CancelJobs(const protocol::CancelJobsRequest& request, const std::string& /*actor*/,
                  Done<protocol::CancelJobsResponse> done) override {
    {
      std::lock_guard lock(mutex);
      cancelled_many = request;
    }
    protocol::CancelJobsResponse response;
    response.set_cancelled(3);
    done(OkStatus(), response);
  }
  void PlanJob(const protocol::PlanJobRequest& request,
               Done<protocol::PlanJobResponse> done) override {
    protocol::PlanJobResponse response;
    if (request.config().name() == "wrong") {
      response.add_problems()->set_path("$.name");
      return done(InvalidArgument("the job has 1 problem"), response);
    }
    // What was asked comes back.
    response.mutable_plan()->set_estimate_basis(request.config().name());
    *response.mutable_plan()->mutable_resources() = request.what_if().resources();
    response.mutable_plan()->set_jobs_queued(request.what_if().more_nodes());
    done(OkStatus(), response);
  }
  void CordonNode(const protocol::CordonNodeRequest& request, const std::string& /*actor*/,
                  Done<protocol::NodeResponse> done) override {
    if (request.node_id() != "n1") return done(NotFound("there is no such node"), {});
    protocol::NodeResponse response;
    response.mutable_info()->set_node_id(request.node_id());
    response.mutable_info()->set_cordoned(true);
    response.mutable_info()->set_draining(request.drain());
    response.mutable_info()->set_cordon_reason(request.reason());
    response.mutable_info()->set_cordon_until(request.until());
    done(OkStatus(), response);
  }
  void UncordonNode(const protocol::UncordonNodeRequest& request, const std::string& /*actor*/,
                    Done<protocol::NodeResponse> done) override {
    if (request.node_id() != "n1") return done(NotFound("there is no such node"), {});
    protocol::NodeResponse response;
    response.mutable_info()->set_node_id(request.node_id());
    done(OkStatus(), response);
  }
  void ForgetNode(const protocol::ForgetNodeRequest& request, const std::string& actor,
                  Done<protocol::ForgetNodeResponse> done) override {
    std::lock_guard lock(mutex);
    forgotten = request.node_id();
    forgotten_by = actor;
    done(OkStatus(), {});
  }
  void ExplainJob(const protocol::ExplainJobRequest& request,
                  Done<protocol::JobPlan> done) override {
    if (request.job_id() != "j1") return done(NoJob(request.job_id()), {});
    protocol::JobPlan plan;
    plan.set_queue_position(3);
    plan.set_jobs_queued(request.what_if().more_nodes());
    done(OkStatus(), plan);
  }
  void ListEvents(const protocol::ListEventsRequest& request,
                  Done<protocol::ListEventsResponse> done) override {
    protocol::ListEventsResponse response;
    protocol::Event* event = response.add_events();
    event->set_number(request.after() + 1);
    event->set_job_id(request.job_id());
    done(OkStatus(), response);
  }
  // The event after request.after; none after 99.
  std::unique_ptr<Follower> FollowEvents(const protocol::ListEventsRequest& request,
                                         std::function<bool(const protocol::Event&)> on_event,
                                         std::function<void(Status)> end,
                                         std::function<void()> begin) override {
    if (!request.job_id().empty() && request.job_id() != "j1") {
      end(NoJob(request.job_id()));
      return nullptr;
    }
    begin();
    protocol::Event event;
    event.set_number(request.after() + 1);
    event.set_node_id(request.node_id());
    if (request.after() < 99) on_event(event);
    return nullptr;
  }
  void ListNodes(const protocol::ListNodesRequest& request,
                 Done<protocol::ListNodesResponse> done) override {
    {
      std::lock_guard lock(mutex);
      nodes_listed = request;
    }
    protocol::ListNodesResponse response;
    response.add_nodes()->set_node_id("n1");
    done(OkStatus(), response);
  }
  void FindNodes(const protocol::FindNodesRequest&,
                 Done<protocol::FindNodesResponse> done) override {
    done(Unimplemented("not on this side"), {});
  }
  void PutDataset(const protocol::PutDatasetRequest& request,
                  Done<protocol::PutDatasetResponse> done) override {
    protocol::PutDatasetResponse response;
    if (request.files_size() > 1) {
      response.add_missing(1);
    } else {
      response.mutable_dataset()->set_name(request.name());
      response.mutable_dataset()->set_version(request.version());
      response.set_existed(request.version() == "old");
    }
    done(OkStatus(), response);
  }
  void StoreDatasetPiece(DatasetPiece piece, Done<DatasetPieceStored> done) override {
    DatasetPieceStored stored{piece.offset + static_cast<int64_t>(piece.data.size())};
    stored.complete = stored.received == piece.size;
    done(piece.sha256 == "bad" ? DataLoss("arrived altered") : OkStatus(), stored);
  }
  void ListDatasets(const protocol::ListDatasetsRequest& request,
                    Done<protocol::ListDatasetsResponse> done) override {
    protocol::ListDatasetsResponse response;
    response.add_datasets()->set_name(request.name());
    done(OkStatus(), response);
  }
  void RemoveDataset(const protocol::RemoveDatasetRequest& request,
                     Done<protocol::RemoveDatasetResponse> done) override {
    if (request.version().empty()) return done(InvalidArgument("which version?"), {});
    protocol::RemoveDatasetResponse response;
    response.mutable_dataset()->set_name(request.name());
    response.mutable_dataset()->set_version(request.version());
    done(OkStatus(), response);
  }
  void GetNodeInfo(const protocol::GetNodeInfoRequest& request,
                   Done<protocol::GetNodeInfoResponse> done) override {
    protocol::GetNodeInfoResponse response;
    if (request.node_id() != "n1")
      return done(NotFound("no node '" + request.node_id() + "'"), response);
    response.mutable_info()->set_node_id("n1");
    done(OkStatus(), response);
  }

  // Follows "j1": the test gives the updates through Publish and End.
  class FakeFollower : public Follower {
   public:
    explicit FakeFollower(FakeApi* api) : api_(api) {}
    ~FakeFollower() override {
      std::lock_guard lock(api_->follow_mutex);
      api_->on_update = nullptr;
      api_->on_end = nullptr;
      ++api_->followers_ended;
      api_->changed.notify_all();
    }
    void Resume() override {
      std::lock_guard lock(api_->follow_mutex);
      ++api_->resumed;
      api_->Drain();
    }

   private:
    FakeApi* api_;
  };
  std::unique_ptr<Follower> Follow(const std::string& job_id,
                                   std::function<bool(const protocol::JobUpdateStream&)> update,
                                   std::function<void(Status)> end) override {
    if (job_id != "j1") {
      end(NoJob(job_id));
      return nullptr;
    }
    std::lock_guard lock(follow_mutex);
    on_update = std::move(update);
    on_end = std::move(end);
    ++followers_begun;
    Drain();
    changed.notify_all();
    return std::make_unique<FakeFollower>(this);
  }
  void Publish(const protocol::JobUpdateStream& update) {
    std::lock_guard lock(follow_mutex);
    updates.push_back(update);
    Drain();
  }
  void End(const Status& status) {
    std::lock_guard lock(follow_mutex);
    if (on_end) on_end(status);
  }
  void WaitForFollowers(int begun, int ended) {
    std::unique_lock lock(follow_mutex);
    EXPECT_TRUE(changed.wait_for(lock, std::chrono::seconds(10), [&] {
      return followers_begun >= begun && followers_ended >= ended;
    }));
  }
  // Under follow_mutex. As the hub does: newest only, once the follower does not take more.
  void Drain() {
    while (on_update && !updates.empty()) {
      if (!on_update(updates.front())) {
        ++refused;
        updates.erase(updates.begin(), updates.end() - 1);
        return;
      }
      updates.erase(updates.begin());
    }
  }

  std::unique_ptr<Subscription> ReadLog(const protocol::ReadLogRequest&,
                                        std::function<void(const protocol::LogChunk&)>,
                                        std::function<void(Status)> end) override {
    end(Unimplemented("not on this side"));
    return nullptr;
  }
  Status Ready() const override { return ready; }
  control::Counters counters() const override {
    control::Counters counters;
    counters.jobs_by_state[static_cast<int>(control::JobState::kRunning)] = 3;
    counters.nodes_online = 2;
    counters.submitted = 17;
    counters.failed = 4;
    return counters;
  }
  void CountWaiting(Done<std::map<std::string, int64_t>> done) override {
    done(OkStatus(), {{"NOT_ENOUGH_FREE", 5}, {"NODES_CORDONED", 2}});
  }

  static Status NoJob(const std::string& id) {
    return NotFound("no job '" + id + "'", "see `cyxwiz ps`");
  }

  std::mutex mutex;
  std::vector<protocol::SubmitJobRequest> submitted;
  std::vector<Done<protocol::SubmitJobResponse>> held;
  bool hold_submits = false;
  protocol::ListJobsRequest listed;
  protocol::ListNodesRequest nodes_listed;
  protocol::CancelJobsRequest cancelled_many;
  std::string forgotten, forgotten_by;
  std::string cancel_reason;
  Status ready;

  std::mutex follow_mutex;
  std::condition_variable changed;
  std::function<bool(const protocol::JobUpdateStream&)> on_update;
  std::function<void(Status)> on_end;
  std::vector<protocol::JobUpdateStream> updates;
  int followers_begun = 0, followers_ended = 0, resumed = 0, refused = 0;
};

}  // namespace cyxwiz::central
