// cyxwiz dataset put, ls, rm.
#include <filesystem>

#include "base/clock.h"
#include "base/resources.h"
#include "cli/commands.h"
#include "cli/dataset_upload.h"
#include "cli/layout.h"
#include "spec/dataset_reference.h"
#include "wire/json.h"

namespace cyxwiz::cli {
namespace {

constexpr Duration kRedrawEvery = std::chrono::milliseconds(200);
constexpr size_t kShownHash = 12;

// A line on a terminal that counts bytes; elsewhere nothing is shown.
class ByteCounter {
 public:
  explicit ByteCounter(Console* console) : console_(*console) {}
  ~ByteCounter() { Clear(); }

  void Begin(std::string what, int64_t total) {
    what_ = std::move(what);
    total_ = total;
    done_ = 0;
    drawn_at_ = {};
  }
  void Add(int64_t bytes) {
    done_ += bytes;
    if (console_.json || !console_.err_is_terminal) return;
    const MonotonicTime now = ReadClocks().monotonic;
    if (now - drawn_at_ < kRedrawEvery) return;
    drawn_at_ = now;
    console_.err << "\r\x1b[K"
                 << Cut(what_ + ": " + FormatBytes(done_) + " of " + FormatBytes(total_),
                        static_cast<size_t>(console_.width > 0 ? console_.width : 80),
                        console_.unicode)
                 << std::flush;
    shown_ = true;
  }
  void Clear() {
    if (shown_) console_.err << "\r\x1b[K" << std::flush;
    shown_ = false;
  }

 private:
  Console& console_;
  std::string what_;
  int64_t total_ = 0, done_ = 0;
  MonotonicTime drawn_at_;
  bool shown_ = false;
};

std::string FullName(const protocol::DatasetVersion& dataset) {
  return dataset.name() + "@" + dataset.version();
}

std::string Files(int64_t count) {
  return std::to_string(count) + (count == 1 ? " file" : " files");
}

}  // namespace

int RunDatasetPut(const Session& session, const DatasetPutOptions& options) {
  Console& console = session.console;
  std::string name = options.name;
  if (name.empty()) {
    std::filesystem::path path = std::filesystem::path(options.path).lexically_normal();
    if (path.filename().empty()) path = path.parent_path();  // "folder/"
    name = path.stem().string();
  }
  if (!spec::IsDatasetName(name)) {
    return console.FailUsage(
        "'" + name +
            "' is no name of a data set: expected letters, digits, '.', '_' and '-', not "
            "beginning with '.' or '-'",
        options.name.empty() ? "give one with --name" : "");
  }
  if (!options.version.empty() && !spec::IsDatasetVersion(options.version)) {
    return console.FailUsage("'" + options.version +
                             "' is no version: expected letters, digits, '.', '_' and '-', not "
                             "beginning with '.' or '-'");
  }
  auto dataset = FindFiles(options.path);
  if (!dataset.ok()) return console.Fail(dataset.status());
  auto client = Client::Connect(session.server);
  if (!client.ok()) return console.Fail(client.status());
  ByteCounter counter(&console);
  auto count = [&counter](int64_t bytes) { counter.Add(bytes); };
  counter.Begin("reading " + Files(static_cast<int64_t>(dataset->files.size())),
                spec::BytesOf(dataset->files));
  Status hashed = HashFiles(&*dataset, count);
  counter.Clear();
  if (!hashed.ok()) return console.Fail(hashed);
  auto put = PutDataset(
      client->get(), *dataset, name, options.version,
      [&counter](int64_t files, int64_t bytes) { counter.Begin("sending " + Files(files), bytes); },
      count);
  counter.Clear();
  if (!put.ok()) return console.Fail(put.status());
  const protocol::DatasetVersion& made = put->dataset;
  if (console.json) {
    Json json = wire::ToJson(made);
    json["uri"] = std::string(spec::kDatasetScheme) + FullName(made);
    json["existed"] = put->existed;
    json["sent_files"] = put->sent_files;
    json["sent_bytes"] = put->sent_bytes;
    json["left_out"] = dataset->hidden;
    console.PrintJson(json);
    return kExitOk;
  }
  console.out << FullName(made) << std::endl;
  console.err << (put->existed ? "It was there already: " : "") << Files(made.files()) << ", "
              << FormatBytes(made.size()) << "; sent "
              << (put->sent_files == 0
                      ? "nothing, the server had it all"
                      : Files(put->sent_files) + ", " + FormatBytes(put->sent_bytes))
              << ". Jobs read it as " << spec::kDatasetScheme << FullName(made) << "\n";
  if (dataset->hidden > 0) {
    console.err << dataset->hidden << " hidden "
                << (dataset->hidden == 1 ? "entry was" : "entries were") << " left out.\n";
  }
  return kExitOk;
}

int RunDatasetLs(const Session& session, const std::string& name) {
  Console& console = session.console;
  auto client = Client::Connect(session.server);
  if (!client.ok()) return console.Fail(client.status());
  protocol::ListDatasetsRequest request;
  request.set_name(name);
  request.set_page_size(1000);
  protocol::ListDatasetsResponse list;
  do {
    auto page = (*client)->Call((*client)->datasets(),
                                &protocol::DatasetService::StubInterface::ListDatasets, request);
    if (!page.ok()) return console.Fail(page.status());
    request.set_page_token(page->next_page_token());
    list.MergeFrom(*page);
  } while (!request.page_token().empty());
  list.clear_next_page_token();
  if (console.json) {
    console.PrintJson(wire::ToJson(list));
    return kExitOk;
  }
  if (list.datasets().empty()) {
    console.err << "The server keeps no data sets: 'cyxwiz dataset put PATH' stores one.\n";
    return kExitOk;
  }
  Table table({{"NAME", false, true},
               {"VERSION"},
               {"FILES", true},
               {"SIZE", true},
               {"AGE", true},
               {"SHA256"}});
  const int64_t now = ReadClocks().unix.seconds();
  for (const protocol::DatasetVersion& dataset : list.datasets()) {
    table.Add({{dataset.name()},
               {dataset.version()},
               {std::to_string(dataset.files())},
               {FormatBytes(dataset.size())},
               {FormatAge(now - dataset.created_at())},
               {dataset.sha256().substr(0, kShownHash)}});
  }
  console.out << table.ToString(console.width, console.unicode, console.colour) << std::flush;
  return kExitOk;
}

int RunDatasetRm(const Session& session, const std::string& full_name) {
  Console& console = session.console;
  auto reference = spec::ParseFullName(full_name);
  if (!reference || reference->version.empty()) {
    return console.FailUsage("'" + full_name +
                                 "' is no version of a data set: expected "
                                 "NAME@VERSION",
                             "'cyxwiz dataset ls' lists them");
  }
  auto client = Client::Connect(session.server);
  if (!client.ok()) return console.Fail(client.status());
  protocol::RemoveDatasetRequest request;
  request.set_name(reference->name);
  request.set_version(reference->version);
  auto response = (*client)->Call((*client)->datasets(),
                                  &protocol::DatasetService::StubInterface::RemoveDataset, request);
  if (!response.ok()) return console.Fail(response.status());
  if (console.json) {
    console.PrintJson(wire::ToJson(response->dataset()));
  } else {
    console.out << "Removed " << FullName(response->dataset()) << std::endl;
  }
  return kExitOk;
}

}  // namespace cyxwiz::cli
