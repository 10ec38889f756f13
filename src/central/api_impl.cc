#include "central/api_impl.h"

#include <algorithm>
#include <cstdio>

#include "central/convert.h"
#include "central/dataset_api.h"
#include "central/dataset_source.h"
#include "central/dispatcher.h"
#include "central/job_checker.h"
#include "central/page_token.h"
#include "central/past.h"
#include "wire/job_config.h"

namespace cyxwiz::central {
namespace {

constexpr size_t kMostPageBytes = 3 << 20;

// "job-" + milliseconds since 1970 (sorts by time) + random, all in hex.
JobId NewJobId() {
  char time[16];
  std::snprintf(time, sizeof time, "%011llx",
                static_cast<unsigned long long>(ReadClocks().unix.ms));
  return {"job-" + std::string(time) + "-" + security::RandomHex(5)};
}

Status RefusedStatus(const spec::Problems& problems) {
  size_t count = problems.count();
  std::string message = count == 1 ? problems.list().front().ToString()
                                   : std::to_string(count) + " problems:\n" + problems.ToString();
  while (message.ends_with('\n')) message.pop_back();
  return InvalidArgument(std::move(message));
}

// Posts `command` and hands the content of its reply (a `Content`) to `on_content`; a refusal goes
// to `done` with an empty response.
template <typename Content, typename Response, typename OnContent>
void Ask(Core* core, control::Command command, Done<Response> done, OnContent on_content) {
  core->Post(std::move(command),
             [done = std::move(done), on_content = std::move(on_content)](control::Reply reply) {
               if (!reply.status.ok()) return done(std::move(reply.status), Response());
               on_content(std::get<Content>(reply.content), done);
             });
}

bool HasDevice(const protocol::NodeInfo& info, protocol::DeviceType device) {
  if (device == protocol::DEVICE_UNKNOWN) return true;
  return std::any_of(info.devices().begin(), info.devices().end(),
                     [&](const auto& d) { return d.device_type() == device; });
}

int64_t MostVram(const protocol::NodeInfo& info) {
  int64_t most = 0;
  for (const auto& device : info.devices()) {
    if (device.device_type() != protocol::DEVICE_CPU)
      most = std::max({most, device.vram_total(), device.memory_total()});
  }
  return most;
}

// Smaller goes first; nodes that are alike keep the order of their ids.
double SortValue(const protocol::NodeInfo& info, protocol::FindNodesRequest::SortBy by) {
  switch (by) {
    case protocol::FindNodesRequest::SORT_BY_PERFORMANCE:
      return -info.compute_score();
    case protocol::FindNodesRequest::SORT_BY_REPUTATION:
      return -info.reputation_score();
    case protocol::FindNodesRequest::SORT_BY_AVAILABILITY:
      return -static_cast<double>(info.available().cpu_millis());
    default:
      return info.pricing().price_per_hour();
  }
}

void SortNodes(std::vector<protocol::NodeInfo>& nodes, protocol::FindNodesRequest::SortBy by,
               bool descending) {
  std::stable_sort(nodes.begin(), nodes.end(), [&](const auto& a, const auto& b) {
    return descending ? SortValue(a, by) > SortValue(b, by) : SortValue(a, by) < SortValue(b, by);
  });
}

spec::Problem InlineDataProblem(size_t bytes) {
  return {.path = "$.initial_data",
          .message = "no job type takes data within the request",
          .expected = "nothing",
          .found = std::to_string(bytes) + " bytes",
          .hint = "name the data with dataset_uri"};
}

std::vector<protocol::NodeInfo> ToNodeInfos(const control::NodesReply& reply) {
  std::vector<protocol::NodeInfo> nodes(reply.nodes.size());
  for (size_t i = 0; i < nodes.size(); ++i) ToNodeInfo(reply.nodes[i], &nodes[i]);
  return nodes;
}

class FollowerImpl final : public Api::Follower {
 public:
  FollowerImpl(StreamHub* hub, std::string job_id, std::shared_ptr<UpdateStream> stream)
      : hub_(hub), job_id_(std::move(job_id)), stream_(std::move(stream)) {}
  ~FollowerImpl() override {
    stream_->Close();
    hub_->Remove(job_id_, stream_);
  }
  void Resume() override { stream_->Resume(); }

 private:
  StreamHub* const hub_;
  const std::string job_id_;
  std::shared_ptr<UpdateStream> stream_;
};

struct EventFollower final : Api::Follower {
  explicit EventFollower(EventHub* hub) : hub(hub) {}
  ~EventFollower() override {
    stream->Close();
    hub->Remove(stream);
  }
  void Resume() override { stream->Resume(); }

  EventHub* const hub;
  std::shared_ptr<EventStream> stream;
};

class ApiImpl final : public Api {
 public:
  explicit ApiImpl(const ApiParts& parts)
      : core_(parts.core),
        hub_(parts.hub),
        events_(parts.events),
        logs_(parts.logs),
        signer_(parts.signer),
        past_(parts.past),
        registry_(parts.datasets),
        pool_(parts.pool),
        datasets_(parts.core, parts.datasets, parts.pool),
        checker_(parts.inspector, data::Roots(parts.data_roots), parts.datasets,
                 {parts.core, parts.artifacts, parts.pool}, parts.pool) {}

  void SubmitJob(const protocol::SubmitJobRequest& request,
                 Done<protocol::SubmitJobResponse> done) override {
    if (request.config().job_type() != protocol::JOB_TYPE_PREPROCESSING)
      return Submit(request, std::move(done));
    pool_->Post([this, complete = request, done = std::move(done)]() mutable {
      Status status = core_->Ready();
      if (status.ok()) status = CompleteOutput(registry_, complete.mutable_config());
      if (!status.ok()) return done(std::move(status), {});
      Submit(complete, std::move(done));
    });
  }

  void GetJobStatus(const protocol::GetJobStatusRequest& request,
                    Done<protocol::GetJobStatusResponse> done) override {
    Ask<control::JobReply>(
        core_, control::GetJob{.job = {request.job_id()}}, std::move(done),
        [](const control::JobReply& reply, const auto& done) {
          const control::Job& job = reply.view.job;
          protocol::GetJobStatusResponse response;
          ToJobStatus(reply.view, response.mutable_status());
          if (!reply.view.node_endpoint.empty()) {
            response.mutable_node_assignment()->set_node_id(job.node.value);
            response.mutable_node_assignment()->set_node_endpoint(reply.view.node_endpoint);
          }
          if (response.status().has_error()) *response.mutable_error() = response.status().error();
          if (control::IsFinal(job.state)) ToJobResult(job, response.mutable_result());
          if (reply.view.body != nullptr)
            ToJobConfig(job, *reply.view.body, response.mutable_config());
          done(OkStatus(), std::move(response));
        });
  }

  void CancelJob(const protocol::CancelJobRequest& request, const std::string& actor,
                 Done<protocol::CancelJobResponse> done) override {
    Ask<control::JobReply>(
        core_,
        control::CancelJob{
            .job = {request.job_id()}, .reason = Clip(request.reason(), 1000), .actor = actor},
        std::move(done), [](const control::JobReply& reply, const auto& done) {
          protocol::CancelJobResponse response;
          response.set_status(protocol::STATUS_SUCCESS);
          response.set_state(static_cast<protocol::JobState>(reply.view.job.state));
          done(OkStatus(), std::move(response));
        });
  }

  void ListJobs(const protocol::ListJobsRequest& request,
                Done<protocol::ListJobsResponse> done) override {
    auto refuse = [&done](Status status) { done(std::move(status), {}); };
    auto page_size = CheckPageSize(request.page_size());
    if (!page_size.ok()) return refuse(page_size.status());
    auto states = StatesOf(request.filter_status());
    if (!states) {
      return refuse(InvalidArgument("filter_status: no job has status " +
                                    std::to_string(request.filter_status())));
    }
    if (!protocol::JobType_IsValid(request.filter_type())) {
      return refuse(InvalidArgument("filter_type: expected 0 (all) to 4 (preprocessing), found " +
                                    std::to_string(request.filter_type())));
    }
    std::string filter = "jobs/" + std::to_string(request.filter_type()) + "/" +
                         std::to_string(request.filter_status()) + "/" + request.array_id() + "/" +
                         request.user_id();
    control::ListJobs command{.page_size = *page_size,
                              .filter = {.user = request.user_id(),
                                         .type = request.filter_type(),
                                         .states = *states,
                                         .array_id = {request.array_id()}}};
    if (!request.page_token().empty()) {
      auto position = ParsePageToken(request.page_token(), filter);
      if (!position.ok()) return refuse(position.status());
      command.after_sequence = *position;
    }
    Ask<control::ListReply>(
        core_, std::move(command), std::move(done),
        [filter](const control::ListReply& reply, const auto& done) {
          protocol::ListJobsResponse response;
          // A stock client takes messages of 4 MiB: a page that would be larger ends early, and the
          // logs in errors' details are told by GetJobStatus alone.
          int64_t next = reply.next_after_sequence;
          size_t bytes = 0;
          for (size_t i = 0; i < reply.jobs.size(); ++i) {
            protocol::JobStatus* status = response.add_jobs();
            ToJobStatus(reply.jobs[i], status);
            if (status->has_error()) status->mutable_error()->clear_details();
            bytes += status->ByteSizeLong() + 8;
            if (bytes < kMostPageBytes || i + 1 == reply.jobs.size()) continue;
            next = reply.jobs[i].job.sequence;
            break;
          }
          if (next != 0) response.set_next_page_token(MakePageToken(next, filter));
          response.set_total_count(static_cast<int32_t>(std::min<int64_t>(reply.total, INT32_MAX)));
          done(OkStatus(), std::move(response));
        });
  }

  void DeleteJob(const protocol::DeleteJobRequest& request, const std::string& actor,
                 Done<protocol::DeleteJobResponse> done) override {
    Ask<control::RemoveReply>(core_, control::RemoveJob{.job = {request.job_id()}, .actor = actor},
                              std::move(done), [](const control::RemoveReply&, const auto& done) {
                                protocol::DeleteJobResponse response;
                                response.set_status(protocol::STATUS_SUCCESS);
                                done(OkStatus(), std::move(response));
                              });
  }

  void ListNodes(const protocol::ListNodesRequest& request,
                 Done<protocol::ListNodesResponse> done) override {
    auto page_size = CheckPageSize(request.page_size());
    if (!page_size.ok()) return done(page_size.status(), {});
    protocol::ListNodesRequest filters = request;
    filters.clear_page_size();
    filters.clear_page_token();
    std::string filter = "nodes/" + filters.SerializeAsString();
    int64_t position = 0;
    if (!request.page_token().empty()) {
      auto parsed = ParsePageToken(request.page_token(), filter);
      if (!parsed.ok()) return done(parsed.status(), {});
      position = *parsed;
    }
    Ask<control::NodesReply>(
        core_, control::ListNodes{}, std::move(done),
        [filters, filter, position, page_size = *page_size](const control::NodesReply& reply,
                                                            const auto& done) {
          protocol::ListNodesResponse response;
          std::vector<protocol::NodeInfo> nodes = ToNodeInfos(reply);
          std::erase_if(nodes, [&](const protocol::NodeInfo& info) {
            double price = info.pricing().price_per_hour();
            return (filters.online_only() && !info.is_online()) ||
                   !HasDevice(info, filters.filter_device()) ||
                   (!filters.filter_region().empty() && info.region() != filters.filter_region()) ||
                   price < filters.min_price_per_hour() ||
                   (filters.max_price_per_hour() > 0 && price > filters.max_price_per_hour());
          });
          double price = 0;
          for (const auto& info : nodes) {
            if (info.is_online()) response.set_online_count(response.online_count() + 1);
            price += info.pricing().price_per_hour();
            response.set_network_total_compute(response.network_total_compute() +
                                               info.compute_score());
          }
          if (!nodes.empty())
            response.set_network_avg_price(price / static_cast<double>(nodes.size()));
          response.set_total_count(static_cast<int32_t>(nodes.size()));
          SortNodes(nodes, filters.sort_by(), filters.sort_descending());
          size_t end = std::min(nodes.size(), static_cast<size_t>(position));
          size_t bytes = 0;
          while (end < nodes.size() && response.nodes_size() < page_size &&
                 bytes < kMostPageBytes) {
            bytes += nodes[end].ByteSizeLong() + 8;
            *response.add_nodes() = std::move(nodes[end++]);
          }
          if (end < nodes.size())
            response.set_next_page_token(MakePageToken(static_cast<int64_t>(end), filter));
          done(OkStatus(), std::move(response));
        });
  }

  void FindNodes(const protocol::FindNodesRequest& request,
                 Done<protocol::FindNodesResponse> done) override {
    if (request.max_results() < 0) {
      return done(InvalidArgument("max_results: expected 0 (all) or more, found " +
                                  std::to_string(request.max_results())),
                  {});
    }
    Ask<control::NodesReply>(
        core_, control::ListNodes{}, std::move(done),
        [request](const control::NodesReply& reply, const auto& done) {
          auto among = [](const auto& list, const std::string& region) {
            return std::find(list.begin(), list.end(), region) != list.end();
          };
          std::vector<protocol::NodeInfo> nodes = ToNodeInfos(reply);
          std::erase_if(nodes, [&](const protocol::NodeInfo& info) {
            double price = info.pricing().price_per_hour();
            return !info.is_online() || !HasDevice(info, request.required_device()) ||
                   info.capacity().memory_bytes() < request.min_memory() ||
                   (request.min_vram() > 0 && MostVram(info) < request.min_vram()) ||
                   info.compute_score() < request.min_compute_score() ||
                   info.reputation_score() < request.min_reputation() ||
                   info.staked_amount() < request.min_stake() ||
                   (!request.allowed_regions().empty() &&
                    !among(request.allowed_regions(), info.region())) ||
                   among(request.blocked_regions(), info.region()) ||
                   (request.max_price_per_hour() > 0 && price > request.max_price_per_hour()) ||
                   (request.max_price_usd() > 0 &&
                    info.pricing().usd_equivalent() > request.max_price_usd()) ||
                   (request.require_free_tier() && !info.pricing().free_tier_available());
          });
          SortNodes(nodes, request.sort_by(), false);
          std::stable_partition(nodes.begin(), nodes.end(), [&](const auto& info) {
            return !request.preferred_region().empty() &&
                   info.region() == request.preferred_region();
          });
          protocol::FindNodesResponse response;
          response.set_total_matching(static_cast<int32_t>(nodes.size()));
          if (!nodes.empty()) {
            double sum = 0;
            double least = nodes.front().pricing().price_per_hour(), most = least;
            for (const auto& info : nodes) {
              double price = info.pricing().price_per_hour();
              least = std::min(least, price);
              most = std::max(most, price);
              sum += price;
            }
            response.set_avg_price_per_hour(sum / static_cast<double>(nodes.size()));
            response.set_min_price_per_hour(least);
            response.set_max_price_per_hour(most);
          }
          size_t count = nodes.size(), bytes = 0;
          if (request.max_results() > 0)
            count = std::min(count, static_cast<size_t>(request.max_results()));
          for (size_t i = 0; i < count && bytes < kMostPageBytes; ++i) {
            bytes += nodes[i].ByteSizeLong() + 8;
            *response.add_nodes() = std::move(nodes[i]);
          }
          done(OkStatus(), std::move(response));
        });
  }

  void GetNodeInfo(const protocol::GetNodeInfoRequest& request,
                   Done<protocol::GetNodeInfoResponse> done) override {
    Ask<control::NodeReply>(core_, control::GetNode{.node = {request.node_id()}}, std::move(done),
                            [](const control::NodeReply& reply, const auto& done) {
                              protocol::GetNodeInfoResponse response;
                              ToNodeInfo(reply.view, response.mutable_info());
                              done(OkStatus(), std::move(response));
                            });
  }

  void PauseJob(const protocol::PauseJobRequest& request, const std::string& actor,
                Done<protocol::JobResponse> done) override {
    AskForJob(control::PauseJob{.job = {request.job_id()}, .actor = actor}, std::move(done));
  }
  void ResumeJob(const protocol::ResumeJobRequest& request, const std::string& actor,
                 Done<protocol::JobResponse> done) override {
    AskForJob(control::ResumeJob{.job = {request.job_id()}, .actor = actor}, std::move(done));
  }
  void SetJobPriority(const protocol::SetJobPriorityRequest& request, const std::string& actor,
                      Done<protocol::JobResponse> done) override {
    AskForJob(
        control::SetPriority{
            .job = {request.job_id()}, .priority = request.priority(), .actor = actor},
        std::move(done));
  }
  void RetryJob(const protocol::RetryJobRequest& request, const std::string& actor,
                Done<protocol::JobResponse> done) override {
    JobId id{request.new_job_id()};
    if (id.empty()) {
      id = NewJobId();
    } else if (!IsValidId(id.value)) {
      return done(InvalidArgument("new_job_id: '" + Clip(id.value, 200) + "' is no valid id",
                                  "1 to 128 of letters, digits, '.', '_' and '-'"),
                  {});
    }
    control::RetryJob retry{.job = {request.job_id()}, .new_job = std::move(id), .actor = actor};
    Ask<control::JobReply>(
        core_, control::GetJob{.job = retry.job}, std::move(done),
        [this, retry](const control::JobReply& reply, const auto& done) {
          protocol::JobConfig config;
          if (reply.view.body != nullptr) config.ParseFromString(reply.view.body->config);
          if (config.dataset_from().name().empty()) return AskForJob(retry, done);
          pool_->Post([this, retry, from = config.dataset_from(), done] {
            // Held until the new job needs it.
            auto held = FindDataset(registry_, from);
            if (!held.ok()) return done(held.status(), {});
            AskForJob(retry, [done, held = *held](Status status, protocol::JobResponse response) {
              done(std::move(status), std::move(response));
            });
          });
        });
  }

  void CancelJobs(const protocol::CancelJobsRequest& request, const std::string& actor,
                  Done<protocol::CancelJobsResponse> done) override {
    using control::JobState;
    control::JobFilter filter{
        .user = request.user_id(), .type = request.job_type(), .project = request.project()};
    switch (request.status()) {
      case protocol::STATUS_UNKNOWN:
        filter.states = {JobState::kQueued, JobState::kAssigned, JobState::kRunning,
                         JobState::kPaused};
        break;
      case protocol::STATUS_PENDING:
        filter.states = {JobState::kQueued, JobState::kAssigned, JobState::kPaused};
        break;
      case protocol::STATUS_IN_PROGRESS:
        filter.states = {JobState::kRunning};
        break;
      default:
        return done(InvalidArgument("status: only jobs that are STATUS_PENDING or "
                                    "STATUS_IN_PROGRESS can be cancelled, found " +
                                    std::to_string(request.status())),
                    {});
    }
    if (!protocol::JobType_IsValid(request.job_type())) {
      return done(InvalidArgument("job_type: expected 0 (all) to 4 (preprocessing), found " +
                                  std::to_string(request.job_type())),
                  {});
    }
    bool every = request.user_id().empty() && request.project().empty() &&
                 request.job_type() == 0 && request.status() == protocol::STATUS_UNKNOWN;
    if (every && !request.all()) {
      return done(InvalidArgument("this means every job of the server",
                                  "set a filter, or `all` when that is what you want"),
                  {});
    }
    Ask<control::CancelJobsReply>(
        core_,
        control::CancelJobs{
            .filter = std::move(filter), .reason = Clip(request.reason(), 1000), .actor = actor},
        std::move(done), [](const control::CancelJobsReply& reply, const auto& done) {
          protocol::CancelJobsResponse response;
          response.set_cancelled(reply.cancelled);
          response.set_cancelling(reply.cancelling);
          done(OkStatus(), std::move(response));
        });
  }

  void ExplainJob(const protocol::ExplainJobRequest& request,
                  Done<protocol::JobPlan> done) override {
    auto what_if = WhatIfOf(request.what_if());
    if (!what_if.ok()) return done(what_if.status(), {});
    control::ExplainJob command{.job = {request.job_id()}, .what_if = *what_if};
    auto tell = [](const control::PlanReply& reply, const Done<protocol::JobPlan>& done) {
      protocol::JobPlan plan;
      ToPlan(reply, &plan);
      *plan.mutable_resources() = ResourcesToWire(reply.view.job.resources);
      done(OkStatus(), std::move(plan));
    };
    if (request.at_ms() == 0)
      return Ask<control::PlanReply>(core_, std::move(command), std::move(done), tell);
    if (past_ == nullptr) {
      return done(FailedPrecondition("the server keeps no history: it cannot tell of the past",
                                     "start it with --history-max-mb above 0"),
                  {});
    }
    past_->Explain(std::move(command), {request.at_ms()},
                   [tell, done = std::move(done)](Result<control::PlanReply> reply) {
                     reply.ok() ? tell(*reply, done) : done(reply.status(), {});
                   });
  }

  void PlanJob(const protocol::PlanJobRequest& request,
               Done<protocol::PlanJobResponse> done) override {
    auto what_if = WhatIfOf(request.what_if());
    if (!what_if.ok()) return done(what_if.status(), {});
    checker_.Check(request.config(), [this, what_if = *what_if, done = std::move(done)](
                                         const spec::Problems& problems, control::Job job,
                                         std::shared_ptr<const control::JobBody> body,
                                         const DatasetRegistry::Hold&) {
      if (body == nullptr) {
        protocol::PlanJobResponse response;
        ToProblems(problems, response.mutable_problems());
        return done(RefusedStatus(problems), std::move(response));
      }
      const bool fresh_id = job.id.empty();
      if (fresh_id) job.id = NewJobId();
      const Resources resources = job.resources;
      control::PlanJob command{
          .job = std::move(job), .body = std::move(body), .fresh_id = fresh_id, .what_if = what_if};
      Ask<control::PlanReply>(core_, std::move(command), done,
                              [resources](const control::PlanReply& reply, const auto& done) {
                                protocol::PlanJobResponse response;
                                ToPlan(reply, response.mutable_plan());
                                *response.mutable_plan()->mutable_resources() =
                                    ResourcesToWire(resources);
                                done(OkStatus(), std::move(response));
                              });
    });
  }

  void PutDataset(const protocol::PutDatasetRequest& request,
                  Done<protocol::PutDatasetResponse> done) override {
    datasets_.Put(request, std::move(done));
  }
  void StoreDatasetPiece(DatasetPiece piece, Done<DatasetPieceStored> done) override {
    datasets_.StorePiece(std::move(piece), std::move(done));
  }
  void ListDatasets(const protocol::ListDatasetsRequest& request,
                    Done<protocol::ListDatasetsResponse> done) override {
    datasets_.List(request, std::move(done));
  }
  void RemoveDataset(const protocol::RemoveDatasetRequest& request,
                     Done<protocol::RemoveDatasetResponse> done) override {
    datasets_.Remove(request, std::move(done));
  }

  void ListEvents(const protocol::ListEventsRequest& request,
                  Done<protocol::ListEventsResponse> done) override {
    auto page_size = CheckPageSize(request.page_size());
    if (!page_size.ok()) return done(page_size.status(), {});
    WithQuery(request, [this, limit = *page_size, done](Result<control::EventQuery> query) {
      if (!query.ok()) return done(query.status(), {});
      query->limit = static_cast<size_t>(limit);
      core_->ReadEvents(*query, [limit, done](Result<std::vector<control::Event>> events) {
        if (!events.ok()) return done(events.status(), {});
        protocol::ListEventsResponse response;
        for (const control::Event& event : *events) ToEvent(event, response.add_events());
        if (static_cast<int32_t>(events->size()) == limit && !events->empty())
          response.set_next_after(events->back().number);
        done(OkStatus(), std::move(response));
      });
    });
  }

  std::unique_ptr<Follower> FollowEvents(const protocol::ListEventsRequest& request,
                                         std::function<bool(const protocol::Event&)> on_event,
                                         std::function<void(Status)> on_end,
                                         std::function<void()> on_begin) override {
    auto follower = std::make_unique<EventFollower>(events_);
    follower->stream =
        std::make_shared<EventStream>(std::move(on_event), std::move(on_end), std::move(on_begin));
    Status added = events_->Add(follower->stream);
    if (!added.ok()) {
      follower->stream->End(added);
      return follower;
    }
    WithQuery(request,
              [core = core_, stream = follower->stream](Result<control::EventQuery> query) {
                if (!query.ok()) return stream->End(query.status());
                stream->Start(core, *query);
              });
    return follower;
  }

  void CordonNode(const protocol::CordonNodeRequest& request, const std::string& actor,
                  Done<protocol::NodeResponse> done) override {
    constexpr int64_t kMostSeconds = int64_t{1} << 40;
    for (int64_t moment : {request.from(), request.until()}) {
      if (moment >= 0 && moment <= kMostSeconds) continue;
      return done(InvalidArgument("from, until: expected seconds since 1970, UTC, found " +
                                  std::to_string(moment)),
                  {});
    }
    AskForNode(control::CordonNode{.node = {request.node_id()},
                                   .drain = request.drain(),
                                   .reason = Clip(request.reason(), 1000),
                                   .from = {request.from() * 1000},
                                   .until = {request.until() * 1000},
                                   .actor = actor},
               std::move(done));
  }
  void UncordonNode(const protocol::UncordonNodeRequest& request, const std::string& actor,
                    Done<protocol::NodeResponse> done) override {
    AskForNode(control::CordonNode{.node = {request.node_id()}, .cordoned = false, .actor = actor},
               std::move(done));
  }
  void ForgetNode(const protocol::ForgetNodeRequest& request, const std::string& actor,
                  Done<protocol::ForgetNodeResponse> done) override {
    Ask<control::RemoveReply>(
        core_, control::ForgetNode{.node = {request.node_id()}, .actor = actor}, std::move(done),
        [](const control::RemoveReply&, const auto& done) { done(OkStatus(), {}); });
  }

  std::unique_ptr<Follower> Follow(const std::string& job_id,
                                   std::function<bool(const protocol::JobUpdateStream&)> on_update,
                                   std::function<void(Status)> on_end) override {
    auto stream = std::make_shared<UpdateStream>(std::move(on_update), std::move(on_end));
    // In the hub before the present state is asked for, so that no change falls in between.
    Status added = hub_->Add(job_id, stream);
    if (added.ok()) {
      core_->Post(control::GetJob{.job = {job_id}}, [stream](control::Reply reply) {
        if (!reply.status.ok()) return stream->End(std::move(reply.status));
        const control::JobView& view = std::get<control::JobReply>(reply.content).view;
        stream->Start(StreamHub::ToUpdate(view), control::IsFinal(view.job.state));
      });
    } else {
      stream->End(added);
    }
    return std::make_unique<FollowerImpl>(hub_, job_id, std::move(stream));
  }

  std::unique_ptr<Subscription> ReadLog(const protocol::ReadLogRequest& request,
                                        std::function<void(const protocol::LogChunk&)> on_chunk,
                                        std::function<void(Status)> on_end) override {
    return logs_->Start(
        request,
        [on_chunk = std::move(on_chunk)](const protocol::LogChunk& chunk) {
          on_chunk(chunk);
          return true;
        },
        std::move(on_end));
  }

  Status Ready() const override { return core_->Ready(); }
  control::Counters counters() const override { return core_->counters(); }
  void CountWaiting(Done<std::map<std::string, int64_t>> done) override {
    Ask<control::WaitingReply>(
        core_, control::CountWaiting{}, std::move(done),
        [](control::WaitingReply& reply, const auto& done) { done(OkStatus(), reply.jobs); });
  }

 private:
  void Submit(const protocol::SubmitJobRequest& request, Done<protocol::SubmitJobResponse> done) {
    checker_.Check(
        request.config(),
        [this, inline_bytes = request.initial_data().size(), done = std::move(done)](
            const spec::Problems& problems, control::Job job,
            std::shared_ptr<const control::JobBody> body, DatasetRegistry::Hold dataset) mutable {
          if (inline_bytes > 0) {
            spec::Problems all = problems;
            all.Add(InlineDataProblem(inline_bytes));
            return Refuse(all, std::move(job), done);
          }
          if (body == nullptr) return Refuse(problems, std::move(job), done);
          const bool fresh_id = job.id.empty();
          if (fresh_id) job.id = NewJobId();
          control::SubmitJob command{
              .job = std::move(job), .body = std::move(body), .fresh_id = fresh_id};
          core_->Post(std::move(command),
                      [this, dataset = std::move(dataset), done = std::move(done)](
                          control::Reply reply) { OnSubmitted(std::move(reply), done); });
        });
  }

  template <typename Command>
  void AskForJob(Command command, Done<protocol::JobResponse> done) {
    Ask<control::JobReply>(core_, std::move(command), std::move(done),
                           [](const control::JobReply& reply, const auto& done) {
                             protocol::JobResponse response;
                             ToJobStatus(reply.view, response.mutable_status());
                             done(OkStatus(), std::move(response));
                           });
  }
  void AskForNode(control::CordonNode command, Done<protocol::NodeResponse> done) {
    Ask<control::NodeReply>(core_, std::move(command), std::move(done),
                            [](const control::NodeReply& reply, const auto& done) {
                              protocol::NodeResponse response;
                              ToNodeInfo(reply.view, response.mutable_info());
                              done(OkStatus(), std::move(response));
                            });
  }

  static Result<control::WhatIf> WhatIfOf(const protocol::WhatIf& wire) {
    constexpr int32_t kMostNodes = 1000;
    if (wire.more_nodes() < 0 || wire.more_nodes() > kMostNodes) {
      return InvalidArgument("what_if.more_nodes: expected 0 to " + std::to_string(kMostNodes) +
                             ", found " + std::to_string(wire.more_nodes()));
    }
    control::WhatIf what_if{.more_nodes = wire.more_nodes()};
    what_if.resources = ResourcesFromWire(wire.resources());
    if (what_if.resources.IsNegative())
      return InvalidArgument("what_if.resources: amounts cannot be negative");
    if (what_if.resources.gpu_millis % kWholeGpu != 0)
      return InvalidArgument("what_if.resources: a node has whole GPUs, not a share of one");
    if (what_if.resources.gpu_millis > kMostGpusOfANode * kWholeGpu) {
      return InvalidArgument("what_if.resources.gpus: expected at most " +
                             std::to_string(kMostGpusOfANode));
    }
    return what_if;
  }

  static void ToPlan(const control::PlanReply& reply, protocol::JobPlan* plan) {
    if (!reply.view.job.id.empty()) ToJobStatus(reply.view, plan->mutable_status());
    ToReasons(reply.reasons, plan->mutable_reasons());
    plan->set_smallest_change(reply.smallest_change);
    plan->set_queue_position(reply.queue_position);
    plan->set_jobs_queued(reply.jobs_queued);
    plan->set_node_id(reply.node.value);
    if (reply.estimated_start) plan->set_estimated_start_time(reply.estimated_start->seconds());
    plan->set_estimate_basis(reply.estimate_basis);
    plan->set_could_ever_run(reply.could_ever_run);
    for (const JobId& id : reply.preempts) plan->add_preempts(id.value);
    for (const NodeId& id : reply.preempts_on) plan->add_preempts_on(id.value);
  }

  // The query that a request means; a job's id is looked up for its sequence.
  void WithQuery(const protocol::ListEventsRequest& request,
                 std::function<void(Result<control::EventQuery>)> then) {
    control::EventQuery query{.after = request.after(), .node = {request.node_id()}};
    if (request.after() < 0) {
      return then(InvalidArgument("after: expected the number of an event or 0, found " +
                                  std::to_string(request.after())));
    }
    if (request.job_id().empty()) return then(query);
    core_->Post(control::GetJob{.job = {request.job_id()}},
                [query, then = std::move(then)](control::Reply reply) mutable {
                  if (!reply.status.ok()) return then(std::move(reply.status));
                  query.sequence = std::get<control::JobReply>(reply.content).view.job.sequence;
                  then(query);
                });
  }

  static void Refuse(const spec::Problems& problems, control::Job job,
                     const Done<protocol::SubmitJobResponse>& done) {
    Status status = RefusedStatus(problems);
    protocol::SubmitJobResponse response;
    response.set_job_id(job.id.value);
    response.set_status(protocol::STATUS_ERROR);
    response.mutable_error()->set_code(static_cast<int32_t>(status.code()));
    response.mutable_error()->set_message(status.message());
    ToProblems(problems, response.mutable_problems());
    done(std::move(status), std::move(response));
  }

  void OnSubmitted(control::Reply reply, const Done<protocol::SubmitJobResponse>& done) const {
    if (!reply.status.ok()) return done(std::move(reply.status), {});
    const control::JobView& view = *std::get<control::SubmitReply>(reply.content).view;
    const control::Job& job = view.job;
    protocol::SubmitJobResponse response;
    response.set_job_id(job.id.value);
    response.set_status(ToStatusCode(job.state));
    ToReasons(view.reasons, response.mutable_reasons());
    if (view.outlook) {
      if (!view.outlook->smallest_change.empty())
        response.set_smallest_change(view.outlook->smallest_change);
      if (view.outlook->queue_position > 0)
        response.set_queue_position(view.outlook->queue_position);
      if (view.outlook->start) response.set_estimated_start_time(view.outlook->start->seconds());
    }
    if (!view.node_endpoint.empty()) {
      int64_t now = ReadClocks().unix.seconds();
      response.set_assigned_node_id(job.node.value);
      response.set_estimated_start_time(job.started_at.ms > 0 ? job.started_at.seconds() : now);
      protocol::NodeAssignment* assignment = response.mutable_node_assignment();
      assignment->set_node_id(job.node.value);
      assignment->set_node_endpoint(view.node_endpoint);
      assignment->set_token_expires_at(now + kTokenLifetimeSeconds);
      assignment->set_auth_token(signer_->Sign({.attempt = {job.id, job.attempt},
                                                .node = job.node,
                                                .expires_at = assignment->token_expires_at()}));
    }
    done(OkStatus(), std::move(response));
  }

  Core* const core_;
  StreamHub* const hub_;
  EventHub* const events_;
  LogRelay* const logs_;
  const security::TokenSigner* const signer_;
  Past* const past_;
  DatasetRegistry* const registry_;
  WorkPool* const pool_;
  DatasetApi datasets_;
  JobChecker checker_;
};

}  // namespace

std::unique_ptr<Api> MakeApi(const ApiParts& parts) { return std::make_unique<ApiImpl>(parts); }

}  // namespace cyxwiz::central
