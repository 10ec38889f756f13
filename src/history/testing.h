// For tests of the history.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "control/control.h"
#include "history/recorder.h"

namespace cyxwiz::history {

// Segments in memory.
class MemoryJournal final : public Journal {
 public:
  bool WantsStart(Now) override { return wants_start || segments.empty(); }
  void Begin(std::string start) override {
    segments.push_back(std::move(start));
    wants_start = false;
  }
  bool Append(std::string_view frames) override {
    segments.back() += frames;
    return true;
  }

  std::vector<std::string> segments;
  bool wants_start = false;
};

// A core that is written down, on a clock that moves only when told, with an archive of what it
// told to store.
class RecordedCore final : public control::Archive {
 public:
  explicit RecordedCore(Journal* journal, control::Options options = {})
      : recorder_(WithArchive(std::move(options), this), journal, "test") {
    recorder_.Load({}, now());
  }

  Now now() const {
    return {{elapsed_.count()}, {1'700'000'000'000 + elapsed_.count() / 1'000'000}};
  }
  template <typename C>
  void Do(C command) {
    if constexpr (requires { command.reply_to; }) command.reply_to = 1;
    control::Command one = std::move(command);
    output = {};
    recorder_.Apply({&one, 1}, now(), &output);
    for (const control::Record& record : output.records) {
      if (auto* put = std::get_if<control::PutJob>(&record)) jobs_[put->job.id] = put->job;
      if (auto* put = std::get_if<control::PutBody>(&record)) bodies_[put->number] = put->body;
    }
  }
  void Pass(Duration time) {
    elapsed_ += time;
    Do(control::Tick{});
  }
  void Register(const std::string& id, int64_t cores) {
    control::RegisterNode command;
    command.node.id.value = id;
    command.node.endpoint = id + ":1";
    command.node.capacity = {cores * 1000, int64_t{1} << 40, 0};
    command.node.devices = {1};
    command.session = "secret session of " + id;
    Do(std::move(command));
  }
  void Submit(const std::string& id, int64_t cores, int32_t priority = 1) {
    control::SubmitJob command;
    command.job.id.value = id;
    command.job.priority = priority;
    command.job.resources = {cores * 1000, 1000, 0};
    command.body = std::make_shared<control::JobBody>(
        control::JobBody{std::string(32, 'x'), "secret specification"});
    Do(std::move(command));
  }
  void Start(const std::string& id, const std::string& node) {
    Do(control::ReportProgress{.node = {node}, .attempt = {{id}, 1}, .progress = 0.5});
  }
  void Complete(const std::string& id, const std::string& node) {
    Do(control::ReportCompletion{.node = {node}, .attempt = {{id}, 1}});
  }
  std::string State() const {
    std::string state;
    recorder_.control().Save(&state);
    return state;
  }

  control::Output output;  // of the last command

 private:
  static control::Options WithArchive(control::Options options, control::Archive* archive) {
    options.archive = archive;
    return options;
  }
  Result<std::optional<control::EndedJob>> FindEnded(const JobId& id) override {
    auto found = jobs_.find(id);
    if (found == jobs_.end() || !control::IsFinal(found->second.state))
      return std::optional<control::EndedJob>();
    return std::optional<control::EndedJob>({found->second, bodies_.at(found->second.body)});
  }
  Result<std::vector<control::Job>> ListEnded(const control::JobFilter&, int64_t, size_t) override {
    return std::vector<control::Job>();
  }
  Result<bool> HasPrefix(const std::string&) override { return false; }

  std::map<JobId, control::Job> jobs_;
  std::map<int64_t, std::shared_ptr<const control::JobBody>> bodies_;
  Duration elapsed_ = std::chrono::seconds(100);
  Recorder recorder_;
};

}  // namespace cyxwiz::history
