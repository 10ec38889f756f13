#include "cli/progress_view.h"

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "cli/job_follower.h"
#include "cli/layout.h"

namespace cyxwiz::cli {
namespace {

using protocol::JobState;

// Speed is taken over this long: it follows changes, and one slow report does not make the estimate
// jump.
constexpr Duration kWindow = std::chrono::seconds(30);
constexpr Duration kLeastObserved = std::chrono::milliseconds(500);

std::string Epochs(const protocol::JobStatus& status) {
  if (status.total_epochs() <= 0) return "";
  return "epoch " + std::to_string(status.current_epoch()) + "/" +
         std::to_string(status.total_epochs());
}

std::string Rate(const protocol::JobStatus& status) {
  auto rate = status.metrics().find("samples_per_second");
  return rate == status.metrics().end() || !(rate->second > 0) ? "" : FormatRate(rate->second);
}

std::string Join(const std::vector<std::string>& words, const char* separator) {
  std::string text;
  for (const std::string& word : words) {
    if (!word.empty()) text += (text.empty() ? "" : separator) + word;
  }
  return text;
}

}  // namespace

const char* StateWord(JobState state) {
  switch (state) {
    case protocol::JOB_STATE_QUEUED:
      return "Queued";
    case protocol::JOB_STATE_ASSIGNED:
      return "Assigned";
    case protocol::JOB_STATE_RUNNING:
      return "Running";
    case protocol::JOB_STATE_PAUSED:
      return "Paused";
    case protocol::JOB_STATE_SUCCEEDED:
      return "Succeeded";
    case protocol::JOB_STATE_FAILED:
      return "Failed";
    case protocol::JOB_STATE_CANCELLED:
      return "Cancelled";
    default:
      return "Unknown";
  }
}

const char* StateColour(JobState state) {
  switch (state) {
    case protocol::JOB_STATE_ASSIGNED:
    case protocol::JOB_STATE_RUNNING:
      return "36";
    case protocol::JOB_STATE_SUCCEEDED:
      return "32";
    case protocol::JOB_STATE_FAILED:
      return "31";
    case protocol::JOB_STATE_CANCELLED:
      return "33";
    default:
      return nullptr;
  }
}

std::vector<std::string> MetricWords(const google::protobuf::Map<std::string, double>& metrics) {
  static constexpr std::pair<const char*, const char*> kWords[] = {
      {"test_accuracy", "test accuracy"},
      {"test_loss", "test loss"},
      {"train_loss", "loss"},
      {"train_accuracy", "accuracy"},
      {"validation_accuracy", "val. accuracy"},
      {"validation_loss", "val. loss"},
  };
  std::vector<std::string> words;
  for (auto [name, word] : kWords) {
    if (auto found = metrics.find(name); found != metrics.end()) {
      words.push_back(std::string(word) + " " + FormatNumber(found->second));
    }
  }
  return words;
}

void ProgressView::Update(const protocol::JobStatus& status, MonotonicTime now) {
  bool new_attempt = has_status_ && status.attempt() != status_.attempt();
  bool new_state = !has_status_ || status.state() != status_.state() || new_attempt;
  if (new_state) state_since_ = now;
  if (new_attempt || status.state() != protocol::JOB_STATE_RUNNING) observations_.clear();
  if (status.state() == protocol::JOB_STATE_RUNNING) {
    // An attempt that starts again from a checkpoint or from nothing goes back.
    if (!observations_.empty() && status.progress() < observations_.back().progress)
      observations_.clear();
    observations_.push_back({now, status.progress()});
    while (observations_.size() > 2 && now - observations_[1].at > kWindow)
      observations_.pop_front();
  }

  // Waiting for another reason than before is worth a line too.
  bool waits =
      status.state() == protocol::JOB_STATE_QUEUED || status.state() == protocol::JOB_STATE_PAUSED;
  if (new_state || (waits && status.message() != status_.message())) {
    std::string line = StateWord(status.state());
    if (status.state() == protocol::JOB_STATE_RUNNING && !status.current_node_id().empty()) {
      line += " on " + status.current_node_id();
      if (status.attempt() > 1) line += " (attempt " + std::to_string(status.attempt()) + ")";
    } else if (waits && !status.message().empty()) {
      line += ": " + status.message();
    }
    if (!IsFinal(status.state())) plain_.push_back(Printable(line));
    if (new_attempt) epochs_told_ = 0;
  }
  if (status.total_epochs() > 0 && status.state() == protocol::JOB_STATE_RUNNING) {
    // Reports may be skipped on the way, so the number of whole epochs is what counts.
    int done = static_cast<int>(std::floor(status.progress() * status.total_epochs() + 1e-6));
    if (done > epochs_told_) {
      epochs_told_ = done;
      std::vector<std::string> words = {
          "epoch " + std::to_string(done) + "/" + std::to_string(status.total_epochs()),
          Rate(status)};
      std::vector<std::string> metrics = MetricWords(status.metrics());
      words.insert(words.end(), metrics.begin(), metrics.end());
      plain_.push_back(Join(words, "  "));
    }
  }
  status_ = status;
  has_status_ = true;
  lost_since_.reset();
}

std::vector<std::string> ProgressView::TakePlainLines() { return std::exchange(plain_, {}); }

std::optional<Duration> ProgressView::TimeLeft(MonotonicTime now) const {
  if (observations_.size() < 2) return std::nullopt;
  const Observation& first = observations_.front();
  const Observation& last = observations_.back();
  Duration observed = last.at - first.at;
  double done = last.progress - first.progress;
  if (observed < kLeastObserved || done <= 0) return std::nullopt;
  double left_ns = (1 - last.progress) / done * static_cast<double>(observed.count());
  if (!(left_ns < 1e18)) return std::nullopt;
  return std::max(Duration(0), Duration(static_cast<int64_t>(left_ns)) - (now - last.at));
}

std::string ProgressView::Line(int width, MonotonicTime now) const {
  if (!has_status_) return "";
  auto columns = static_cast<size_t>(std::max(width, 20));
  std::string state = StateWord(status_.state());
  auto painted = [&](const std::string& text) {
    const char* colour = StateColour(status_.state());
    return colour_ && colour ? "\x1b[" + std::string(colour) + "m" + text + "\x1b[0m" : text;
  };
  if (lost_since_) {
    return Cut(state + "  no connection to the server for " + FormatClock(now - *lost_since_) +
                   ", trying again",
               columns, unicode_);
  }
  if (status_.state() != protocol::JOB_STATE_RUNNING) {
    std::string text = "  " + FormatClock(now - state_since_);
    if (!status_.message().empty()) text += "  " + Printable(status_.message());
    return painted(state) + Cut(text, columns - state.size(), unicode_);
  }
  std::vector<std::string> words = {FormatPercent(status_.progress()), Epochs(status_),
                                    Rate(status_)};
  if (auto left = TimeLeft(now))
    words.push_back("ETA " + FormatClock(*left + std::chrono::milliseconds(500)));
  std::vector<std::string> metrics = MetricWords(status_.metrics());
  words.insert(words.end(), metrics.begin(), metrics.end());
  // What comes last is least important and is left out when the line is full.
  constexpr size_t kLeastBar = 10, kMostBar = 30;
  size_t bar = kLeastBar;
  std::string text;
  for (const std::string& word : words) {
    if (word.empty()) continue;
    if (state.size() + 1 + kLeastBar + 1 + text.size() + 2 + word.size() > columns) break;
    text += (text.empty() ? "" : "  ") + word;
  }
  size_t used = state.size() + 1 + 1 + text.size();
  bar = std::clamp(columns > used ? columns - used : 0, kLeastBar, kMostBar);
  return painted(state + " " + Bar(status_.progress(), bar, unicode_)) + " " + text;
}

std::string ProgressView::FinalLine() const {
  std::string line = StateWord(status_.state());
  if (status_.end_time() > 0 && status_.start_time() > 0) {
    line +=
        " after " + FormatDuration(std::chrono::seconds(status_.end_time() - status_.start_time()));
  }
  std::string details;
  if (status_.state() == protocol::JOB_STATE_SUCCEEDED) {
    std::vector<std::string> words = MetricWords(status_.metrics());
    if (std::string rate = Rate(status_); !rate.empty()) words.push_back(rate);
    details = Join(words, ", ");
  } else {
    details = status_.error().message().empty() ? status_.message() : status_.error().message();
  }
  if (!details.empty()) line += ": " + Printable(details);
  return line + PrintableLines(status_.error().details(), "\n  ");
}

}  // namespace cyxwiz::cli
