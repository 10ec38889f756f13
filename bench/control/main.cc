// Load generators for the control plane, driven by bench/run.py. Each prints one line of JSON.
//
// clang-format off
//   bench_control echo-server                              serves echoes until standard input ends; prints its address
//   bench_control echo SERVER IN_FLIGHT SECONDS            empty calls with messages of SubmitJob's size
//   bench_control submit SERVER IN_FLIGHT SECONDS [same]   durable SubmitJob calls; same: one body for all
//   bench_control fill SERVER IN_FLIGHT COUNT [same]       so many of them
//   bench_control jobs SERVER IN_FLIGHT COUNT PARALLEL     from submit to acknowledged completion, executed by a node that returns at once
//   bench_control first-step SERVER COUNT                  submit to first training step, one job at a time
// clang-format on
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "control/fake_node.h"
#include "control/first_step.h"
#include "control/load.h"

namespace {

using cyxwiz::bench::LoadResult;
using nlohmann::json;

json ToJson(const LoadResult& r) {
  return {{"calls", r.calls},     {"errors", r.errors},           {"first_error", r.first_error},
          {"seconds", r.seconds}, {"per_second", r.per_second()}, {"p50_ms", r.p50_ms},
          {"p99_ms", r.p99_ms}};
}

json Jobs(const std::string& server, int in_flight, int64_t count, int parallel) {
  cyxwiz::bench::FakeNode node(server, parallel);
  auto start = std::chrono::steady_clock::now();
  LoadResult submits = cyxwiz::bench::SubmitLoad(server, in_flight, 3600, count, false);
  if (submits.errors > 0) throw std::runtime_error("SubmitJob: " + submits.first_error);
  if (!node.WaitForCompletions(count, 120))
    throw std::runtime_error("not all jobs completed within 120 s");
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return {{"jobs", count},
          {"seconds", seconds},
          {"per_second", static_cast<double>(count) / seconds},
          {"submits_per_second", submits.per_second()},
          {"errors", node.errors()}};
}

int Run(const std::vector<std::string>& a) {
  json out;
  if (a.size() == 1 && a[0] == "echo-server") return cyxwiz::bench::ServeEcho();
  if (a.size() == 4 && a[0] == "echo") {
    size_t bytes = cyxwiz::bench::SubmitRequestBytes();
    out = ToJson(cyxwiz::bench::EchoLoad(a[1], std::stoi(a[2]), std::stod(a[3]), bytes));
    out["message_bytes"] = bytes;
  } else if ((a.size() == 4 || (a.size() == 5 && a[4] == "same")) && a[0] == "submit") {
    out = ToJson(cyxwiz::bench::SubmitLoad(a[1], std::stoi(a[2]), std::stod(a[3]), INT64_MAX,
                                           a.size() == 5));
    out["message_bytes"] = cyxwiz::bench::SubmitRequestBytes();
  } else if ((a.size() == 4 || (a.size() == 5 && a[4] == "same")) && a[0] == "fill") {
    out = ToJson(
        cyxwiz::bench::SubmitLoad(a[1], std::stoi(a[2]), 3600, std::stoll(a[3]), a.size() == 5));
  } else if (a.size() == 5 && a[0] == "jobs") {
    out = Jobs(a[1], std::stoi(a[2]), std::stoll(a[3]), std::stoi(a[4]));
  } else if (a.size() == 3 && a[0] == "first-step") {
    auto result = cyxwiz::bench::MeasureFirstStep(a[1], std::stoi(a[2]));
    out = {{"accepted_ms", result.accepted_ms},
           {"running_ms", result.running_ms},
           {"job_ids", result.job_ids}};
  } else {
    std::fprintf(stderr, "bench_control: see the head of bench/control/main.cc\n");
    return 2;
  }
  std::printf("%s\n", out.dump().c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const int result = Run(std::vector<std::string>(argv + 1, argv + argc));
    // gRPC ends its last thread after the last answer, and now and then it crashes in the
    // destructors of static objects.
    std::fflush(stdout);
    std::_Exit(result);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_control: %s\n", error.what());
    return 1;
  }
}
