#include "node/settings.h"

#include <stdlib.h>

#include <cstdio>
#include <utility>

#include "base/config.h"
#include "base/listen_address.h"
#include "base/resources.h"
#include "base/text.h"
#include "spec/job_file.h"
#include "spec/job_terms.h"

namespace cyxwiz::node {
namespace {

Status ParseNamed(NodeSettings* settings) {
  Resources named;
  for (const std::string& text : settings->resources) {
    size_t equals = text.find('=');
    std::string name = text.substr(0, equals);
    auto amount = equals == text.npos ? std::nullopt : ParseInt(text.substr(equals + 1));
    if (!IsResourceName(name) || !amount || *amount < 1 || *amount > spec::kMaxNamedAmount) {
      return InvalidArgument(
          "resources: expected a name of a-z, 0-9, '.', '_' and '-', '=' and a "
          "whole number from 1, such as licence=4, found '" +
          text + "'");
    }
    if (named.Named(name) != 0) return InvalidArgument("resources: '" + name + "' is given twice");
    named.SetNamed(name, *amount);
  }
  settings->named = std::move(named.named);
  for (const std::string& text : settings->labels) {
    size_t equals = text.find('=');
    std::string name = text.substr(0, equals);
    std::string value = equals == text.npos ? "" : text.substr(equals + 1);
    if (!IsLabelText(name) || !IsLabelText(value)) {
      return InvalidArgument(
          "labels: expected name=value, each of 1 to 64 letters, digits, '.', '_' "
          "and '-', such as zone=west, found '" +
          text + "'");
    }
    if (!settings->parsed_labels.emplace(name, value).second)
      return InvalidArgument("labels: '" + name + "' is given twice");
  }
  if (!settings->pool.empty()) {
    if (!IsLabelText(settings->pool)) {
      return InvalidArgument("pool: expected 1 to 64 letters, digits, '.', '_' and '-', found '" +
                             settings->pool + "'");
    }
    auto [label, is_new] = settings->parsed_labels.emplace(kPoolLabel, settings->pool);
    if (!is_new && label->second != settings->pool)
      return InvalidArgument("pool: differs from the label pool=" + label->second);
  }
  if (settings->parsed_labels.size() > kMaxLabels) {
    return InvalidArgument("labels: expected at most " + std::to_string(kMaxLabels) + ", found " +
                           std::to_string(settings->parsed_labels.size()));
  }
  return OkStatus();
}

Status ParsePorts(NodeSettings* settings) {
  const std::string& text = settings->rendezvous_ports;
  if (text.empty()) return OkStatus();
  const size_t dash = text.find('-');
  auto first = ParseInt(text.substr(0, dash));
  auto last = dash == text.npos ? first : ParseInt(text.substr(dash + 1));
  if (!first || !last || *first < 1 || *last < *first || *last > 65535) {
    return InvalidArgument(
        "rendezvous_ports: expected the first and the last port, such as 29500-29599, found '" +
        text + "'");
  }
  settings->rendezvous_port = static_cast<int32_t>(*first);
  settings->rendezvous_port_count = static_cast<int32_t>(*last - *first + 1);
  return OkStatus();
}

Status ParseCacheDisk(const std::string& name, const std::string& text, int64_t* bytes) {
  auto parsed = text == "0" ? std::optional<int64_t>(0) : spec::ParseMemory(text);
  if (!parsed) {
    return InvalidArgument(name + ": expected 0 or an amount such as 4GiB or 512MiB, found '" +
                           text + "'");
  }
  *bytes = *parsed;
  return OkStatus();
}

void AddFetch(Config* config, NodeSettings* settings) {
  fetch::Options& fetch = settings->fetch;
  config->Add(
      "fetch.max_size", &settings->fetch_size,
      "Largest data set that is fetched for https:// and s3://, such as 20GiB. 0: nothing is "
      "fetched.");
  config->Add("fetch.max_s", &settings->fetch_seconds,
              "Seconds within which a data set must have been fetched.", 1, 1'000'000);
  config->Add("fetch.stall_s", &settings->fetch_stall_seconds,
              "Seconds with less than 1 KiB/s after which a connection counts as lost.", 1, 86400);
  config->Add("fetch.parallel", &fetch.parallel, "Files that are fetched at a time.", 1, 64);
  config->Add("fetch.hosts", &fetch.hosts,
              "Host that may be fetched from, such as data.example.org or *.example.org; may be "
              "given several times. None: all.");
  config->Add("fetch.allow", &fetch.allowed,
              "Host, or range of addresses such as 10.4.0.0/16, that may be fetched from though it "
              "is private; may be given several times.");
  config->Add("fetch.allow_http", &fetch.allow_http, "Whether http:// is fetched, too.");
  config->Add("fetch.ca_file", &fetch.ca_file,
              "File of certificates (PEM) to trust besides those of the system; empty: none.");
  config->Add("fetch.s3.endpoint", &fetch.s3.endpoint,
              "Where s3:// is, such as https://minio.lan:9000; empty: Amazon, in the region.");
  config->Add("fetch.s3.region", &fetch.s3.region, "Region of s3://.");
  config->Add("fetch.s3.keys_file", &fetch.s3.keys_file,
              "File with aws_access_key_id, aws_secret_access_key and aws_session_token, as AWS "
              "writes it; empty: the variables AWS_ACCESS_KEY_ID and so on, if they are set.");
}

// Takes a secret out of the environment, where every runner would find it.
std::string TakeVariable(const char* name) {
  const char* value = ::getenv(name);
  std::string taken = value == nullptr ? "" : value;
  ::unsetenv(name);
  return taken;
}

Status ReadFetch(NodeSettings* settings) {
  fetch::Options& fetch = settings->fetch;
  RETURN_IF_ERROR(ParseCacheDisk("fetch.max_size", settings->fetch_size, &fetch.max_bytes));
  fetch.max_time = std::chrono::seconds(settings->fetch_seconds);
  fetch.stall_time = std::chrono::seconds(settings->fetch_stall_seconds);
  fetch::S3Keys keys{TakeVariable("AWS_ACCESS_KEY_ID"), TakeVariable("AWS_SECRET_ACCESS_KEY"),
                     TakeVariable("AWS_SESSION_TOKEN")};
  if (!keys.access_key.empty() && !keys.secret_key.empty()) fetch.s3.keys = std::move(keys);
  return OkStatus();
}

}  // namespace

Result<NodeSettings> ReadSettings(int argc, const char* const* argv, bool* done) {
  NodeSettings settings;
  Config config("cyxwiz-server-node",
                "Server Node of CyxWiz: takes jobs from a Central Server and runs them on "
                "this machine.",
                "CYXWIZ_NODE");
  config.Add("data", &settings.data,
             "Folder of the node: its id, the files of running attempts, and logs.");
  config.Add("server", &settings.server, "Address of the Central Server, host:port.");
  config.Add("listen", &settings.listen,
             "Where the node serves the Central Server, host:port; port 0 picks a free one.");
  config.Add("terminal_listen", &settings.terminal_listen,
             "Where the node serves terminals, host:port; empty: nowhere.");
  config.Add(
      "advertise", &settings.advertise,
      "host:port under which the Central Server reaches this node; empty: where it listens.");
  config.Add("rendezvous_ports", &settings.rendezvous_ports,
             "Ports on which jobs over several nodes meet when their first rank is here, first and "
             "last; empty: the node takes no ranks.");
  config.Add("name", &settings.name, "Name for people; empty: the host's name.");
  config.Add("region", &settings.region, "Where the node is, for people and filters.");
  config.Add("cpus", &settings.cpus, "Cores given to jobs, such as 1.5; 0: all.");
  config.Add("memory", &settings.memory,
             "Memory given to jobs, such as 6GiB; empty: all but 512 MiB.");
  config.Add("gpus", &settings.gpus, "GPUs given to jobs; -1: all.", -1, 1024);
  config.Add("declared_gpus", &settings.declared_gpus,
             "A GPU that NVIDIA's NVML does not show, by its memory, such as 8GiB; may be given "
             "several times, in CUDA's order. Nothing is checked: only where NVML shows none.");
  config.Add(
      "disk", &settings.disk,
      "Scratch space given to jobs, such as 100GiB; only counted, not enforced. Empty: none.");
  config.Add("resources", &settings.resources,
             "A resource of your own and how much of it jobs may have, such as licence=4; may be "
             "given several times.");
  config.Add("labels", &settings.labels,
             "A label that jobs may ask for, such as zone=west; may be given several times.");
  config.Add("pool", &settings.pool,
             "Pool the node is in: only jobs that name it come here; empty: in none, and jobs that "
             "name none come. The same as the label pool.");
  config.Add("data_roots", &settings.data_roots,
             "Folder below which jobs may read file:// data; may be given several times.");
  config.Add("runner", &settings.runner, "Path of cyxwiz-runner; empty: beside this program.");
  config.Add("log_level", &settings.log_level, "trace, debug, info, warn, error or off.");
  config.Add("log_max_bytes", &settings.log_max_bytes,
             "Most that is kept of one attempt's log; beginning and end stay.", 4096,
             int64_t{1} << 40);
  config.Add("keep_logs", &settings.keep_logs,
             "How many ended attempts keep their logs; the oldest go first.", 0, 10'000'000);
  config.Add("min_free_disk_bytes", &settings.min_free_disk_bytes,
             "Bytes that must be free on the disk of the data folder for the node to take a job.",
             0, int64_t{1} << 50);
  config.Add("checkpoint_disk", &settings.checkpoint_disk,
             "Most space for checkpoints of jobs that do not run here now, such as 10GiB; the "
             "oldest go first.");
  config.Add("weights_disk", &settings.weights_disk,
             "Most space for weights that evaluations and inferences have fetched, such as 4GiB; "
             "the least lately used go first. 0: none are kept.");
  config.Add("dataset_disk", &settings.dataset_disk,
             "Most space for files of stored data sets that jobs have fetched, such as 20GiB; the "
             "least lately used go first, those in use never. 0: none are kept.");
  AddFetch(&config, &settings);
  config.Add("ready_fd", &settings.ready_fd,
             "File descriptor that gets one line of JSON once the node is registered; -1: none.",
             -1, 1 << 20);
  RETURN_IF_ERROR(config.Parse(argc, argv, done));
  if (*done) return settings;

  // Less than a thousandth would be none, which means all.
  if (settings.cpus != 0 && !(settings.cpus >= 0.001 && settings.cpus <= 1e6)) {
    char found[32];
    std::snprintf(found, sizeof found, "%g", settings.cpus);
    return InvalidArgument(
        "cpus: expected 0 (all) or a number of cores from 0.001 to 1000000, such as 1.5, found " +
        std::string(found));
  }
  if (!settings.memory.empty()) {
    auto bytes = spec::ParseMemory(settings.memory);
    if (!bytes) {
      return InvalidArgument("memory: expected an amount such as 6GiB or 512MiB, at most " +
                             FormatBytes(spec::kMaxMemoryBytes) + ", found '" + settings.memory +
                             "'");
    }
    settings.memory_bytes = *bytes;
  }
  for (const std::string& text : settings.declared_gpus) {
    auto bytes = spec::ParseMemory(text);
    if (!bytes || std::ssize(settings.declared_gpu_bytes) == kMostGpusOfANode) {
      return InvalidArgument("declared_gpus: expected the memory of each of at most " +
                             std::to_string(kMostGpusOfANode) + " GPUs, such as 8GiB, found '" +
                             text + "'");
    }
    settings.declared_gpu_bytes.push_back(*bytes);
  }
  if (!settings.disk.empty()) {
    auto bytes = spec::ParseMemory(settings.disk);
    if (!bytes) {
      return InvalidArgument("disk: expected an amount such as 100GiB, at most " +
                             FormatBytes(spec::kMaxMemoryBytes) + ", found '" + settings.disk +
                             "'");
    }
    settings.disk_bytes = *bytes;
  }
  RETURN_IF_ERROR(ParseNamed(&settings));
  RETURN_IF_ERROR(ParsePorts(&settings));
  auto checkpoints = spec::ParseMemory(settings.checkpoint_disk);
  if (!checkpoints) {
    return InvalidArgument("checkpoint_disk: expected an amount such as 10GiB or 512MiB, found '" +
                           settings.checkpoint_disk + "'");
  }
  settings.checkpoint_bytes = *checkpoints;
  RETURN_IF_ERROR(ParseCacheDisk("weights_disk", settings.weights_disk, &settings.weights_bytes));
  RETURN_IF_ERROR(ParseCacheDisk("dataset_disk", settings.dataset_disk, &settings.dataset_bytes));
  RETURN_IF_ERROR(ReadFetch(&settings));
  RETURN_IF_ERROR(ParseListenAddress(settings.listen, "listen").status());
  if (!settings.terminal_listen.empty())
    RETURN_IF_ERROR(ParseListenAddress(settings.terminal_listen, "terminal_listen").status());
  if (!IsHostPort(settings.server)) {
    return InvalidArgument("server: expected host:port, found '" + settings.server + "'",
                           "such as 127.0.0.1:50051");
  }
  if (!settings.advertise.empty() && !IsHostPort(settings.advertise)) {
    return InvalidArgument("advertise: expected host:port, found '" + settings.advertise + "'",
                           "such as 10.0.0.7:50052");
  }
  return settings;
}

}  // namespace cyxwiz::node
