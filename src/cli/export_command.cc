// cyxwiz export.
#include <unistd.h>

#include <filesystem>

#include "base/file.h"
#include "base/resources.h"
#include "cli/commands.h"
#include "cli/download.h"
#include "cli/job_follower.h"
#include "cli/progress_view.h"
#include "cli/run_program.h"
#include "cli/scratch_folder.h"
#include "export/onnx.h"
#include "export/saved_model.h"
#include "export/torchscript.h"

namespace cyxwiz::cli {
namespace {

namespace fs = std::filesystem;

using exporting::kModelFile;
using exporting::kTorchScriptFile;
using exporting::kWeightsFile;

constexpr char kOnnxFile[] = "model.onnx";

// The files of a job while they are read, in a folder that goes with it.
class FetchedModel {
 public:
  Status Fetch(const Session& session, const std::string& job_id, const std::string& beside) {
    ASSIGN_OR_RETURN(std::unique_ptr<Client> client, Client::Connect(session.server));
    ASSIGN_OR_RETURN(protocol::GetJobStatusResponse status, client->GetJobStatus(job_id));
    if (status.status().has_array()) return HasNoFiles(status.status(), session.server);
    if (status.status().state() != protocol::JOB_STATE_SUCCEEDED) {
      return FailedPrecondition(
          "job " + job_id + " is " + StateWord(status.status().state()) + ": it has left no model",
          IsFinal(status.status().state())
              ? ""
              : "follow it with 'cyxwiz watch " + job_id + ServerFlag(session.server) + "'");
    }
    RETURN_IF_ERROR(MakeFolder(beside));
    RETURN_IF_ERROR(folder_.Make(beside, ".export-", "cannot make a folder in '" + beside + "'"));
    for (const protocol::Artifact& artifact : status.result().artifacts()) {
      if (artifact.name() != kModelFile && artifact.name() != kWeightsFile) continue;
      RETURN_IF_ERROR(DownloadArtifact(client.get(), job_id, artifact, folder()).status());
    }
    return OkStatus();
  }
  const std::string& folder() const { return folder_.path(); }

 private:
  ScratchFolder folder_;
};

Status CopyFile(const std::string& from, const std::string& to) {
  ASSIGN_OR_RETURN(std::string content, ReadFile(from, kMaxSafetensorsBytes));
  return WriteFileAtomically(to, content);
}

// The runner's work, for it needs libtorch.
Status WriteTorchScript(const std::string& from, const std::string& path) {
  const std::string runner = ProgramFolder() + "/cyxwiz-runner";
  if (::access(runner.c_str(), X_OK) != 0) {
    return FailedPrecondition("'" + runner + "' is missing: it writes TorchScript files",
                              "build it: make");
  }
  return RunProgram({runner, "--torchscript", from, "--file", path});
}

// Writes the files of the format into `to`, and tells their names.
Status Write(const std::string& format, const std::string& from, const std::string& to,
             std::vector<std::string>* names) {
  if (format == "torchscript") {
    // What is wrong with the model is said here; the weights are not held while the runner reads
    // them.
    {
      ASSIGN_OR_RETURN(exporting::SavedModel saved, exporting::ReadSavedModel(from));
      RETURN_IF_ERROR(exporting::ToTorchScript(saved).status());
    }
    RETURN_IF_ERROR(MakeFolder(to));
    *names = {kTorchScriptFile};
    return WriteTorchScript(from, to + "/" + kTorchScriptFile);
  }
  ASSIGN_OR_RETURN(exporting::SavedModel saved, exporting::ReadSavedModel(from));
  if (format == "onnx") {
    ASSIGN_OR_RETURN(std::string onnx, exporting::ToOnnx(saved));
    RETURN_IF_ERROR(MakeFolder(to));
    *names = {kOnnxFile};
    return WriteFileAtomically(to + "/" + kOnnxFile, onnx);
  }
  RETURN_IF_ERROR(MakeFolder(to));
  *names = {kModelFile, kWeightsFile};
  for (const std::string& name : *names) {
    RETURN_IF_ERROR(CopyFile(from + "/" + name, to + "/" + name));
  }
  return OkStatus();
}

}  // namespace

int RunExport(const Session& session, const ExportOptions& options) {
  Console& console = session.console;
  std::error_code error;
  // A folder named like the job may be where an earlier export of it went.
  const bool is_folder = options.source.find('/') != std::string::npos ||
                         fs::exists(options.source + "/" + kModelFile, error);
  std::string from = options.source;
  std::string to = options.folder.empty() ? options.source : options.folder;
  for (std::string* folder : {&from, &to}) {
    while (folder->size() > 1 && folder->back() == '/') folder->pop_back();
  }
  if (is_folder && options.format == "safetensors" && fs::equivalent(from, to, error)) {
    return console.FailUsage("the files of '" + from + "' are in that folder already",
                             "name another with -o");
  }
  FetchedModel fetched;
  if (!is_folder) {
    if (Status s = fetched.Fetch(session, options.source, to); !s.ok()) return console.Fail(s);
    from = fetched.folder();
  }
  std::vector<std::string> names;
  if (Status s = Write(options.format, from, to, &names); !s.ok()) return console.Fail(s);
  Json files = Json::array();
  for (const std::string& name : names) {
    const std::string path = to + "/" + name;
    const auto size = static_cast<int64_t>(fs::file_size(path, error));
    if (!console.json) console.out << path << "  " << FormatBytes(size) << std::endl;
    files.push_back({{"name", name}, {"path", path}, {"size", size}});
  }
  if (console.json) {
    console.PrintJson({{"source", options.source}, {"format", options.format}, {"files", files}});
  }
  return kExitOk;
}

}  // namespace cyxwiz::cli
