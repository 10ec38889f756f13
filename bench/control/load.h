// A closed loop of calls: so many in flight, each followed at once by the next.
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace cyxwiz::bench {

struct LoadResult {
  int64_t calls = 0;  // answered OK
  int64_t errors = 0;
  std::string first_error;
  double seconds = 0;  // from the first call to the last answer
  double p50_ms = 0, p99_ms = 0;
  double per_second() const { return seconds > 0 ? static_cast<double>(calls) / seconds : 0; }
};

// Starts one call; `done` is called once with its outcome, on any thread.
using IssueCall = std::function<void(int64_t number, std::function<void(grpc::Status)> done)>;

// Keeps `in_flight` calls going until `seconds` have passed or `most_calls` were issued, and waits
// for the last answer.
LoadResult RunLoad(int in_flight, double seconds, int64_t most_calls, const IssueCall& issue);

// Echoes of `bytes` bytes, as Payload.
LoadResult EchoLoad(const std::string& server, int in_flight, double seconds, size_t bytes);
// SubmitJob; each answer says that the job is durable.
LoadResult SubmitLoad(const std::string& server, int in_flight, double seconds, int64_t most_calls,
                      bool same_body);
// Size of one request of SubmitLoad, bytes.
size_t SubmitRequestBytes();
// Serves Echo on a free port of 127.0.0.1, prints the address, and returns when standard input
// ends.
int ServeEcho();

// The value below which `part` (0 to 1) of the values lie; sorts them.
double Percentile(std::vector<double>* values, double part);

}  // namespace cyxwiz::bench
