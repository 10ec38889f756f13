#include "node/unreported_end.h"

#include <utility>

#include "base/file.h"
#include "base/ids.h"
#include "base/json.h"

namespace cyxwiz::node {
namespace {

using Outcome = AttemptEnd::Outcome;

constexpr size_t kMostBytes = 16 << 20;  // a message of a runner has at most 1 MiB
constexpr std::pair<Outcome, const char*> kOutcomes[] = {{Outcome::kSucceeded, "succeeded"},
                                                         {Outcome::kFailed, "failed"},
                                                         {Outcome::kCancelled, "cancelled"}};

// Throws Json::exception when a part is missing or of another type.
UnreportedEnd FromJson(const Json& json) {
  UnreportedEnd unreported;
  unreported.token = json.at("token").get<std::string>();
  AttemptEnd& end = unreported.end;
  const std::string outcome = json.at("outcome").get<std::string>();
  for (const auto& [value, name] : kOutcomes) {
    if (outcome == name) end.outcome = value;
  }
  end.cause = static_cast<protocol::FailureCause>(json.at("cause").get<int>());
  if (const int code = json.at("code").get<int>(); code != 0) {
    end.error = Status(static_cast<Code>(code), json.at("message").get<std::string>(),
                       json.at("hint").get<std::string>());
  }
  for (const Json& one : json.at("files")) {
    StoredFile& file = unreported.files.emplace_back();
    file.name = one.at("name").get<std::string>();
    file.sha256 = one.at("sha256").get<std::string>();
    file.size = one.at("size").get<int64_t>();
    end.files.push_back(file.name);
  }
  end.metrics = json.at("metrics").get<std::map<std::string, double>>();
  end.compute_seconds = json.at("compute_seconds").get<double>();
  end.output_dataset = json.at("output_dataset").get<std::string>();
  end.yielded = json.at("yielded").get<bool>();
  end.exit_code = json.at("exit_code").get<int>();
  end.exit_signal = json.at("exit_signal").get<int>();
  end.log_tail = json.at("log_tail").get<std::string>();
  end.log_tail_offset = json.at("log_tail_offset").get<int64_t>();
  return unreported;
}

}  // namespace

Status WriteUnreportedEnd(const std::string& folder, const UnreportedEnd& unreported) {
  const AttemptEnd& end = unreported.end;
  Json files = Json::array(), metrics = Json::object();
  for (const StoredFile& file : unreported.files)
    files.push_back({{"name", file.name}, {"sha256", file.sha256}, {"size", file.size}});
  for (const auto& [name, value] : end.metrics) metrics[name] = value;
  const char* outcome = "";
  for (const auto& [value, name] : kOutcomes) {
    if (end.outcome == value) outcome = name;
  }
  const Json json = {{"token", unreported.token},
                     {"outcome", outcome},
                     {"cause", static_cast<int>(end.cause)},
                     {"code", static_cast<int>(end.error.code())},
                     {"message", end.error.message()},
                     {"hint", end.error.hint()},
                     {"files", std::move(files)},
                     {"metrics", std::move(metrics)},
                     {"compute_seconds", end.compute_seconds},
                     {"output_dataset", end.output_dataset},
                     {"yielded", end.yielded},
                     {"exit_code", end.exit_code},
                     {"exit_signal", end.exit_signal},
                     {"log_tail", end.log_tail},
                     {"log_tail_offset", end.log_tail_offset}};
  return WriteFileAtomically(folder + "/" + kEndFile,
                             json.dump(-1, ' ', false, Json::error_handler_t::replace), 0600);
}

Result<UnreportedEnd> ReadUnreportedEnd(const std::string& folder) {
  const std::string path = folder + "/" + kEndFile;
  ASSIGN_OR_RETURN(std::string text, ReadFile(path, kMostBytes));
  ASSIGN_OR_RETURN(Json json, ParseJson(text, path));
  try {
    UnreportedEnd unreported = FromJson(json);
    for (const StoredFile& file : unreported.files) {
      // A name leads into the attempt's folder and nowhere else.
      if (!IsValidId(file.name)) return DataLoss("'" + path + "' names a file '" + file.name + "'");
    }
    return unreported;
  } catch (const Json::exception& e) {
    return DataLoss("'" + path + "' does not tell how an attempt ended: " + e.what());
  }
}

}  // namespace cyxwiz::node
