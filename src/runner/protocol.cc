#include "runner/protocol.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "spec/job_terms.h"

namespace cyxwiz::runner {
namespace {

std::string Encode(const Json& line) {
  // Text from outside (a path, say) need not be UTF-8; a line is.
  return line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<std::string> TextOf(const Json& line, const char* key) {
  if (!line.contains(key) || !line[key].is_string()) {
    return InvalidArgument(std::string("start message: '") + key + "' must be text");
  }
  return line[key].get<std::string>();
}

Result<int64_t> NumberOf(const Json& line, const char* key) {
  if (!line.contains(key)) return int64_t{0};
  if (!line[key].is_number_integer() || line[key].get<int64_t>() < 0) {
    return InvalidArgument(std::string("start message: '") + key +
                           "' must be a whole number, at least 0; found " + line[key].dump());
  }
  return line[key].get<int64_t>();
}

Result<GangPlace> GangOf(const Json& gang) {
  if (!gang.is_object()) return InvalidArgument("start message: 'gang' must be an object");
  ASSIGN_OR_RETURN(int64_t rank, NumberOf(gang, "rank"));
  ASSIGN_OR_RETURN(int64_t size, NumberOf(gang, "size"));
  ASSIGN_OR_RETURN(int64_t port, NumberOf(gang, "port"));
  GangPlace place;
  ASSIGN_OR_RETURN(place.host, TextOf(gang, "host"));
  ASSIGN_OR_RETURN(place.secret, TextOf(gang, "secret"));
  if (size < 2 || size > spec::kMaxNodes || rank >= size || port < 1 || port > 65535 ||
      place.secret.empty()) {
    return InvalidArgument(
        "start message: 'gang' must be one of 2 to " + std::to_string(spec::kMaxNodes) +
        " ranks, counted from 0, with a port and a secret; found rank " + std::to_string(rank) +
        " of " + std::to_string(size) + ", port " + std::to_string(port));
  }
  place.rank = static_cast<int>(rank);
  place.size = static_cast<int>(size);
  place.port = static_cast<int>(port);
  return place;
}

}  // namespace

Status Channel::Send(const Json& line) { return Write(Encode(line), /*may_drop=*/false); }
Status Channel::SendOrDrop(const Json& line) { return Write(Encode(line), /*may_drop=*/true); }

Status Channel::Write(std::string_view data, bool may_drop) {
  bool begun = false;  // a line that has been begun is finished, or the next one would be garbage
  while (!data.empty()) {
    int flags = MSG_NOSIGNAL | (may_drop && !begun ? MSG_DONTWAIT : 0);
    ssize_t n = ::send(socket_.get(), data.data(), data.size(), flags);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return OkStatus();
    if (n < 0) return Unavailable(ErrnoStatus("cannot write to the node", errno).message());
    data.remove_prefix(static_cast<size_t>(n));
    begun = true;
  }
  return OkStatus();
}

Status Channel::Read(bool wait, bool* got) {
  char buffer[1 << 16];
  for (;;) {
    ssize_t n = ::recv(socket_.get(), buffer, sizeof buffer, wait ? 0 : MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    *got = n > 0;
    if (n > 0) received_.append(buffer, static_cast<size_t>(n));
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return OkStatus();
    if (n < 0) return Unavailable(ErrnoStatus("cannot read from the node", errno).message());
    if (n == 0) return Unavailable("the node has closed the attempt's socket");
    return OkStatus();
  }
}

Result<std::optional<Json>> Channel::NextLine() {
  size_t end = received_.find('\n');
  if (end == std::string::npos) {
    if (received_.size() > kMaxLineBytes) {
      return InvalidArgument("a line from the node is longer than " +
                             std::to_string(kMaxLineBytes) + " bytes");
    }
    return std::optional<Json>();
  }
  Result<Json> line = ParseJson(std::string_view(received_).substr(0, end), "line from the node");
  received_.erase(0, end + 1);
  if (!line.ok()) return line.status();
  if (!line->is_object() || !line->contains("type") || !(*line)["type"].is_string()) {
    return InvalidArgument("a line from the node is not an object with a 'type'");
  }
  return std::optional<Json>(std::move(*line));
}

Result<Json> Channel::Receive() {
  for (;;) {
    ASSIGN_OR_RETURN(std::optional<Json> line, NextLine());
    if (line) return std::move(*line);
    bool got = false;
    RETURN_IF_ERROR(Read(/*wait=*/true, &got));
  }
}

Result<std::optional<Json>> Channel::Poll() {
  bool got = false;
  RETURN_IF_ERROR(Read(/*wait=*/false, &got));
  if (!got && received_.empty()) return std::optional<Json>();
  return NextLine();
}

Result<StartMessage> ParseStart(const Json& line) {
  if (line["type"] != "start") {
    return InvalidArgument("expected a 'start' message first, found '" +
                           line["type"].get<std::string>() + "'");
  }
  if (!line.contains("protocol") || line["protocol"] != kProtocolVersion) {
    return InvalidArgument("the node speaks protocol " +
                               (line.contains("protocol") ? line["protocol"].dump() : "(none)") +
                               ", this runner speaks " + std::to_string(kProtocolVersion),
                           "install node and runner of the same release");
  }
  StartMessage start;
  ASSIGN_OR_RETURN(start.job_id, TextOf(line, "job_id"));
  ASSIGN_OR_RETURN(start.attempt, NumberOf(line, "attempt"));
  ASSIGN_OR_RETURN(start.folder, TextOf(line, "folder"));
  ASSIGN_OR_RETURN(start.cpu_millis, NumberOf(line, "cpu_millis"));
  ASSIGN_OR_RETURN(start.memory_bytes, NumberOf(line, "memory_bytes"));
  if (!line.contains("job")) return InvalidArgument("start message: 'job' is missing");
  ASSIGN_OR_RETURN(start.job, spec::JobDescription::FromJson(line["job"]));
  for (auto [key, name] : {std::pair("resume", &start.resume), std::pair("weights", &start.weights),
                           std::pair("dataset", &start.dataset)}) {
    if (!line.contains(key)) continue;
    ASSIGN_OR_RETURN(*name, TextOf(line, key));
    if (name->find('/') == std::string::npos && !name->starts_with('.')) continue;
    return InvalidArgument(std::string("start message: '") + key +
                           "' must be a name in the attempt's folder; found '" + *name + "'");
  }
  if (line.contains("cuda_visible_devices")) {
    ASSIGN_OR_RETURN(start.cuda_visible_devices, TextOf(line, "cuda_visible_devices"));
  }
  if (line.contains("processes")) {
    ASSIGN_OR_RETURN(start.processes, NumberOf(line, "processes"));
    if (start.processes < 1 || start.processes > spec::kMaxNodes) {
      return InvalidArgument("start message: 'processes' must be 1 to " +
                             std::to_string(spec::kMaxNodes) + "; found " +
                             std::to_string(start.processes));
    }
  }
  if (line.contains("gang")) {
    ASSIGN_OR_RETURN(start.gang, GangOf(line["gang"]));
  }
  if (line.contains("data_roots")) {
    if (!line["data_roots"].is_array()) {
      return InvalidArgument("start message: 'data_roots' must be a list of folders");
    }
    for (const Json& root : line["data_roots"]) {
      if (!root.is_string()) {
        return InvalidArgument("start message: 'data_roots' must be a list of folders");
      }
      start.data_roots.push_back(root.get<std::string>());
    }
  }
  return start;
}

Json HelloLine() {
  return {{"type", "hello"}, {"protocol", kProtocolVersion}, {"pid", ::getpid()}};
}

Json StartedLine(const Started& started, double load_ms, double first_step_ms) {
  Json line{{"type", "started"},
            {"device", started.device},
            {"threads", started.threads},
            {"parameters", started.parameters},
            {"timings", {{"load_ms", load_ms}, {"first_step_ms", first_step_ms}}}};
  if (started.resumed) {
    line["resumed"] = {{"epoch", started.resumed->epoch}, {"step", started.resumed->step}};
  }
  return line;
}

Json ProgressLine(const Progress& progress) {
  return {{"type", "progress"},        {"progress", progress.part}, {"epoch", progress.epoch},
          {"epochs", progress.epochs}, {"step", progress.step},     {"metrics", progress.metrics}};
}

Json SucceededLine(const std::vector<std::string>& files, const Metrics& metrics,
                   double compute_seconds) {
  return {{"type", "succeeded"},
          {"files", files},
          {"metrics", metrics},
          {"compute_seconds", compute_seconds}};
}

Json FailedLine(const Failure& failure) {
  return {{"type", "failed"},
          {"cause", failure.cause},
          {"message", failure.message},
          {"hint", failure.hint},
          {"path", failure.path}};
}

Json StoppedLine() { return {{"type", "stopped"}}; }

Json CheckpointLine(const Checkpoint& checkpoint, double pause_ms, double write_ms) {
  Json files = Json::array();
  for (const CheckpointFile& file : checkpoint.files) {
    files.push_back({{"name", file.name}, {"size", file.size}, {"sha256", file.sha256}});
  }
  return {{"type", "checkpoint"},
          {"name", checkpoint.name},
          {"epoch", checkpoint.epoch},
          {"step", checkpoint.step},
          {"files", files},
          {"timings", {{"pause_ms", pause_ms}, {"write_ms", write_ms}}}};
}

Json YieldedLine(const std::optional<Checkpoint>& newest, const Status& trouble) {
  Json line{{"type", "yielded"}};
  if (newest) {
    line["checkpoint"] = newest->name;
    line["epoch"] = newest->epoch;
    line["step"] = newest->step;
  }
  if (!trouble.ok()) line["message"] = trouble.message();
  return line;
}

}  // namespace cyxwiz::runner
