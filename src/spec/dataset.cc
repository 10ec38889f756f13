#include "spec/dataset.h"

#include <algorithm>
#include <cctype>
#include <initializer_list>
#include <span>
#include <utility>

#include "base/resources.h"
#include "base/text.h"
#include "spec/count.h"
#include "spec/dataset_manifest.h"
#include "spec/dataset_reference.h"
#include "spec/job_file.h"
#include "spec/object_reader.h"
#include "spec/percent.h"
#include "spec/remote_source.h"
#include "spec/shard_pattern.h"

namespace cyxwiz::spec {
namespace {

constexpr size_t kMaxUriBytes = 4096;
constexpr int64_t kMaxMockSamples = 100'000'000;
constexpr int64_t kMaxMockFeatures = 1'000'000;
constexpr int64_t kMaxMockClasses = 100'000;
const char kPath[] = "$.dataset";
const char kForms[] =
    "mock://random_data, file:///absolute/path, dataset://NAME, https://HOST/PATH or "
    "s3://BUCKET/KEY";

// The parameters after '?', as an object of texts.
Json ParseQuery(std::string_view query, Problems* problems) {
  Json parameters = Json::object();
  while (!query.empty()) {
    std::string_view part = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), part.size() + 1));
    size_t equals = part.find('=');
    auto name = DecodePercent(part.substr(0, equals));
    auto value =
        equals == part.npos ? std::optional<std::string>() : DecodePercent(part.substr(equals + 1));
    if (!name || name->empty() || !value) {
      problems->Add({kPath, "the URI has a malformed parameter", "name=value", Shown(part), ""});
    } else if (parameters.contains(*name)) {
      problems->Add({kPath, "the URI has a parameter twice",
                     "one " + Shown(std::string_view(*name)), Shown(part), ""});
    } else {
      parameters[*name] = *value;
    }
  }
  return parameters;
}

bool HasSuffix(std::string_view text, std::string_view suffix) {
  return text.size() >= suffix.size() && SameName(text.substr(text.size() - suffix.size()), suffix);
}

void ReadMock(std::string_view source, ObjectReader& reader, DatasetUri* uri, Problems* problems) {
  uri->kind = DatasetUri::Kind::kMock;
  while (!source.empty() && source.back() == '/') source.remove_suffix(1);
  if (source != "random_data") {
    problems->Add({kPath, "there is no mock data set of that name", "\"random_data\"",
                   Shown(source), "write mock://random_data"});
  }
  uri->samples = reader.Whole({"samples", "size"}, 1, kMaxMockSamples).value_or(uri->samples);
  uri->test_samples =
      reader.Whole({"test_samples"}, 0, kMaxMockSamples).value_or(uri->test_samples);
  uri->features = reader.Whole({"features"}, 1, kMaxMockFeatures).value_or(uri->features);
  uri->classes = reader.Whole({"classes"}, 2, kMaxMockClasses).value_or(uri->classes);
  uri->seed = static_cast<uint64_t>(reader.Whole({"seed"}, 0, kUncountable).value_or(0));
  uri->noise = reader.Real({"noise"}, {.min = 0, .max = 1e6}).value_or(uri->noise);
  // The samples, and the centres of the classes, which are kept in 64 bits.
  int64_t bytes = std::max(MockInfo(*uri).bytes_in_memory, Product(8, uri->classes, uri->features));
  if (bytes > kMaxMockBytes) {
    problems->Add({kPath, "the mock data set is too large", "at most " + FormatBytes(kMaxMockBytes),
                   FormatBytes(bytes), "ask for fewer samples, features or classes"});
  }
}

using Kind = DatasetUri::Kind;

// What goes by a name in "format=", and by the ends of files' names.
struct Format {
  std::string_view name;
  Kind kind;
  const char* ends;  // how a message names it
};
constexpr Format kFormats[] = {
    {"csv", Kind::kTable, "a path that ends in .csv or .tsv"},
    {"tsv", Kind::kTable, "a path that ends in .csv or .tsv"},
    {"text", Kind::kText, "a path that ends in .txt"},
    {"txt", Kind::kText, "a path that ends in .txt"},
    {"npy", Kind::kNpy, "a path that ends in .npy"},
    {"npz", Kind::kNpz, "a path that ends in .npz or .safetensors"},
    {"safetensors", Kind::kSafetensors, "a path that ends in .npz or .safetensors"},
    {"idx", Kind::kIdxFolder, "IDX files"},
    {"images", Kind::kImageFolder, "a folder with format=images"},
    {"webdataset", Kind::kWebDataset, "a path that ends in .tar"},
    {"tar", Kind::kWebDataset, "a path that ends in .tar"},
    {"prepared", Kind::kPrepared, "the dataset.json that a preprocessing has left"},
};

constexpr std::string_view kSha256Parameter = "sha256";
// What is prepared is told by the name of its file.
constexpr std::string_view kPreparedFileName = "dataset.json";

bool HasOwnLabels(Kind kind) {
  return kind == Kind::kText || kind == Kind::kImageFolder || kind == Kind::kWebDataset ||
         kind == Kind::kPrepared;
}

const Format* FormatOf(std::string_view path) {
  if (path.substr(path.rfind('/') + 1) == kPreparedFileName)
    return &kFormats[std::size(kFormats) - 1];
  if (HasSuffix(path, ".gz")) path.remove_suffix(3);
  for (const Format& format : kFormats) {
    if (format.kind == Kind::kIdxFolder || format.kind == Kind::kImageFolder ||
        format.kind == Kind::kPrepared)
      continue;
    if (HasSuffix(path, "." + std::string(format.name))) return &format;
  }
  return nullptr;
}

// Reads the parameters of a file, those of its kind; the others are refused with the kind that they
// are for.
class FileReader {
 public:
  FileReader(ObjectReader* reader, DatasetUri* uri, Problems* problems)
      : reader_(*reader), uri_(*uri), problems_(*problems) {}

  void Read() {
    ReadKind();
    ReadLabels();
    if (For({"label"}, {Kind::kTable, Kind::kWebDataset})) ReadLabel();
    if (For({"label_type"}, {Kind::kTable, Kind::kWebDataset})) {
      static constexpr Choice kLabels[] = {
          {"classes", static_cast<int>(TableOptions::Labels::kClasses)},
          {"numbers", static_cast<int>(TableOptions::Labels::kNumbers)}};
      Choose({"label_type"}, kLabels, &uri_.table.labels);
    }
    if (For({"header", "delimiter", "columns", "ignore", "categorical", "encoding", "missing",
             "split_column"},
            {Kind::kTable})) {
      ReadTable();
    }
    if (For({"sequence_length"}, {Kind::kText})) {
      uri_.sequence_length =
          reader_.Whole({"sequence_length"}, 1, kMaxSequenceLength).value_or(uri_.sequence_length);
    }
    if (For({"features"}, {Kind::kNpz, Kind::kSafetensors})) {
      uri_.features_name = reader_.Text({"features"}).value_or(uri_.features_name);
    }
    if (For({"size", "channels"}, {Kind::kImageFolder, Kind::kWebDataset})) ReadImages();
    ReadAugmentation();
    if (For({"stream", "window", "stream_memory"},
            {Kind::kWebDataset, Kind::kImageFolder, Kind::kIdxFolder, Kind::kIdxPair, Kind::kNpy,
             Kind::kNpz, Kind::kSafetensors, Kind::kPrepared})) {
      ReadStream();
    }
    if (uri_.kind == Kind::kPrepared) {
      for (const char* name : {"normalize", "normalise", "test_split", "split", "split_seed"}) {
        if (reader_.Find({name}) != nullptr)
          reader_.Refuse({name}, "was decided when the data was prepared", "nothing",
                         "leave it out");
      }
      return;
    }
    if (uri_.kind == Kind::kText) {
      (void)For({"normalize", "normalise"}, {Kind::kTable});
    } else {
      uri_.normalize = reader_.Bool({"normalize", "normalise"}).value_or(false);
    }
    ReadSplit();
  }

 private:
  void ReadKind() {
    const Format* format = FormatOf(uri_.path);
    uri_.kind = format != nullptr ? format->kind : Kind::kIdxFolder;
    static constexpr Choice kChoices[] = {{"csv", 0},
                                          {"tsv", 1},
                                          {"text", 2},
                                          {"txt", 3, /*alias=*/true},
                                          {"npy", 4},
                                          {"npz", 5},
                                          {"safetensors", 6},
                                          {"idx", 7},
                                          {"images", 8},
                                          {"webdataset", 9},
                                          {"tar", 10, /*alias=*/true},
                                          {"prepared", 11}};
    if (auto chosen = reader_.OneOf({"format"}, kChoices)) {
      format = &kFormats[static_cast<size_t>(*chosen)];
      uri_.kind = format->kind;
    }
    if (format != nullptr && format->name == "tsv") uri_.table.delimiter = '\t';
    if (uri_.kind == Kind::kWebDataset && IsShardPattern(uri_.path) && !ExpandShards(uri_.path)) {
      problems_.Add({kPath, "the path is no pattern of archives",
                     "one range of at most " + std::to_string(kMaxShards) +
                         " numbers, such as train-{000..146}.tar",
                     Shown(std::string_view(uri_.path)), ""});
    }
  }

  void ReadLabels() {
    if (uri_.kind == Kind::kNpz || uri_.kind == Kind::kSafetensors) {
      uri_.labels_name = reader_.Text({"labels"}).value_or(uri_.labels_name);
      return;
    }
    auto labels = reader_.Text({"labels"});
    if (uri_.kind == Kind::kTable && labels) {
      reader_.Refuse({"labels"}, "is for files of arrays", "\"label\"",
                     "name the label's column with label=");
    } else if (HasOwnLabels(uri_.kind) && labels) {
      reader_.Refuse({"labels"}, "is for files of arrays", "no labels",
                     uri_.kind == Kind::kText          ? "each byte's label is the one after it"
                     : uri_.kind == Kind::kImageFolder ? "each image's label is its folder"
                     : uri_.kind == Kind::kWebDataset  ? "each image's label is beside it"
                                                       : "they are prepared, too");
    } else if (uri_.kind == Kind::kNpy && !labels) {
      reader_.Refuse({"labels"}, "is missing",
                     uri_.fetched()  ? "the URL of labels.npy, or its name beside the features"
                     : uri_.stored() ? "the path of labels.npy within the data set"
                                     : "/absolute/path/of/labels.npy");
    } else if (labels) {
      if (uri_.kind == Kind::kIdxFolder) uri_.kind = Kind::kIdxPair;
      uri_.labels_path = *labels;
      if (uri_.fetched()) return;  // ChooseRemoteFiles looks at it
      if (uri_.stored() && !IsDatasetPath(*labels)) {
        reader_.Refuse({"labels"}, "is no path within the data set", "such as labels.npy");
      } else if (!uri_.stored() && !labels->starts_with('/')) {
        reader_.Refuse({"labels"}, "is not an absolute path", "/absolute/path/of/labels-file");
      }
    }
  }

  // Of a table the name of a column, of a WebDataset that of a member of .json, or ".txt".
  void ReadLabel() {
    std::string label = reader_.Text({"label"}).value_or("");
    if (uri_.kind == Kind::kTable) {
      uri_.table.label = std::move(label);
      return;
    }
    if (label.starts_with('.')) {
      for (char& c : label) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      static constexpr std::string_view kOthers[] = {".", ".png", ".jpg", ".jpeg", ".npy", ".json"};
      if (std::find(std::begin(kOthers), std::end(kOthers), label) != std::end(kOthers) ||
          label.find_first_of("./", 1) != label.npos) {
        reader_.Refuse({"label"}, "is no ending of a file that holds a label",
                       "such as .cls or .txt, or the name of a member of the .json");
      }
    }
    uri_.label_source = std::move(label);
  }

  void ReadTable() {
    TableOptions& table = uri_.table;
    table.has_header = reader_.Bool({"header"});
    if (auto delimiter = reader_.Text({"delimiter"})) {
      if (SameName(*delimiter, "tab")) *delimiter = "\t";
      bool good = delimiter->size() == 1 && (*delimiter == "\t" || (*delimiter)[0] > ' ') &&
                  (*delimiter)[0] < 127 && *delimiter != "\"" &&
                  !std::isalnum(static_cast<unsigned char>((*delimiter)[0])) &&
                  std::string_view(".+-").find((*delimiter)[0]) == std::string_view::npos;
      if (good) {
        table.delimiter = (*delimiter)[0];
      } else {
        reader_.Refuse({"delimiter"}, "cannot separate cells",
                       "one character such as , ; | or the word tab");
      }
    }
    table.columns = Names({"columns"});
    table.ignored = Names({"ignore"});
    table.categorical = Names({"categorical"});
    if (!table.columns.empty() && !table.ignored.empty()) {
      reader_.Refuse({"ignore"}, "does not go with columns", "one of both",
                     "leave the column out of columns");
    }
    static constexpr Choice kEncodings[] = {
        {"one_hot", static_cast<int>(TableOptions::Encoding::kOneHot)},
        {"index", static_cast<int>(TableOptions::Encoding::kIndex)}};
    Choose({"encoding"}, kEncodings, &table.encoding);
    static constexpr Choice kMissing[] = {
        {"refuse", static_cast<int>(TableOptions::Missing::kRefuse)},
        {"mean", static_cast<int>(TableOptions::Missing::kMean)},
        {"zero", static_cast<int>(TableOptions::Missing::kZero)},
        {"skip", static_cast<int>(TableOptions::Missing::kSkip)}};
    Choose({"missing"}, kMissing, &table.missing);
    uri_.test_split.column = reader_.Text({"split_column"}).value_or("");
  }

  void ReadImages() {
    if (auto size = reader_.Text({"size"})) {
      size_t cross = size->find('x');
      auto height = ParseInt(size->substr(0, cross));
      auto width = cross == size->npos ? height : ParseInt(size->substr(cross + 1));
      if (height && width && *height >= 1 && *height <= kMaxImageSide && *width >= 1 &&
          *width <= kMaxImageSide) {
        uri_.images.height = *height;
        uri_.images.width = *width;
      } else {
        reader_.Refuse(
            {"size"}, "is not a size",
            "height x width from 1 to " + std::to_string(kMaxImageSide) + ", such as 32x32");
      }
    }
    if (auto channels = reader_.Whole({"channels"}, 1, 3)) {
      uri_.images.channels = *channels;
      if (*channels == 2) reader_.Refuse({"channels"}, "is out of range", "1 (gray) or 3 (colour)");
    }
  }

  void ReadStream() {
    StreamOptions& stream = uri_.stream;
    stream.wanted = reader_.Bool({"stream"});
    stream.window = reader_.Whole({"window"}, 1, kMaxShuffleWindow).value_or(stream.window);
    auto memory = reader_.Text({"stream_memory"});
    if (!memory) return;
    const auto bytes = ParseMemory(*memory);
    if (bytes && *bytes <= kMaxInMemoryBytes) {
      stream.memory_bytes = *bytes;
    } else {
      reader_.Refuse({"stream_memory"}, "is no amount of memory",
                     "from 1B to " + FormatBytes(kMaxInMemoryBytes) + ", such as 256MiB");
    }
  }

  void ReadAugmentation() {
    Augmentation& augmentation = uri_.augmentation;
    if (uri_.kind == Kind::kText) (void)For({"mixup"}, {Kind::kImageFolder});
    augmentation.mixup = Most({"mixup"}, kMaxMixup);
    if (uri_.kind == Kind::kTable || uri_.kind == Kind::kText) {
      (void)For({"flip", "crop", "brightness", "contrast", "saturation", "hue"},
                {Kind::kImageFolder});
      return;
    }
    augmentation.flip = reader_.Bool({"flip"}).value_or(false);
    augmentation.crop = reader_.Whole({"crop"}, 0, kMaxImageSide).value_or(0);
    augmentation.brightness = Most({"brightness"}, kMaxColourFactor);
    augmentation.contrast = Most({"contrast"}, kMaxColourFactor);
    augmentation.saturation = Most({"saturation"}, kMaxColourFactor);
    augmentation.hue = Most({"hue"}, kMaxHue);
  }

  // From 0, which it is when it is not given.
  double Most(const Key& key, double max) {
    return reader_.Real(key, {.min = 0, .max = max}).value_or(0);
  }

  void ReadSplit() {
    TestSplit& split = uri_.test_split;
    if (uri_.kind == Kind::kText) split.mode = TestSplit::Mode::kEnd;
    split.ratio = reader_.Real({"test_split"}, {.min = 0, .max = 1, .below_max = true}).value_or(0);
    static constexpr Choice kModes[] = {
        {"random", static_cast<int>(TestSplit::Mode::kRandom)},
        {"end", static_cast<int>(TestSplit::Mode::kEnd)},
        {"stratified", static_cast<int>(TestSplit::Mode::kStratified)}};
    Choose({"split"}, kModes, &split.mode);
    split.seed = static_cast<uint64_t>(reader_.Whole({"split_seed"}, 0, kUncountable).value_or(0));
    if (split.mode == TestSplit::Mode::kStratified && uri_.kind == Kind::kText) {
      reader_.Refuse({"split"}, "is for data of classes", "end or random");
    }
    for (const char* name : {"split", "split_seed"}) {
      if (reader_.Find({name}) != nullptr && split.ratio == 0) {
        reader_.Refuse({name}, "says how to split, and nothing is", "test_split beside it",
                       "add test_split=0.2");
      }
    }
    if (!split.column.empty() && split.ratio > 0) {
      reader_.Refuse({"test_split"}, "does not go with split_column", "one of both");
    }
  }

  template <typename Enum>
  void Choose(const Key& key, std::span<const Choice> choices, Enum* chosen) {
    if (auto value = reader_.OneOf(key, choices)) *chosen = static_cast<Enum>(*value);
  }

  std::vector<std::string> Names(const Key& key) {
    std::vector<std::string> names;
    auto text = reader_.Text(key);
    if (!text) return names;
    for (std::string_view rest = *text;;) {
      std::string_view name = rest.substr(0, rest.find(','));
      names.emplace_back(name);
      if (name.empty()) {
        reader_.Refuse(key, "lists a name that is empty", "names of columns, separated by commas");
        return {};
      }
      if (name.size() == rest.size()) return names;
      rest.remove_prefix(name.size() + 1);
    }
  }

  // Whether the URI is of one of these kinds. Parameters of `names` that a URI of another kind has
  // are refused.
  bool For(std::initializer_list<const char*> names, std::initializer_list<Kind> kinds) {
    if (std::find(kinds.begin(), kinds.end(), uri_.kind) != kinds.end()) return true;
    for (const char* name : names) {
      if (reader_.Find({name}) == nullptr) continue;
      const char* expected = "";
      for (const Format& format : kFormats) {
        if (format.kind == *kinds.begin()) expected = format.ends;
      }
      reader_.Refuse({name}, "is for other data", expected);
    }
    return false;
  }

  ObjectReader& reader_;
  DatasetUri& uri_;
  Problems& problems_;
};

void ReadFile(std::string_view source, ObjectReader& reader, DatasetUri* uri, Problems* problems) {
  if (source.starts_with("localhost/")) source.remove_prefix(9);
  auto path = DecodePercent(source);
  if (!path) {
    problems->Add({kPath, "the path has a malformed % code", "% and two hexadecimal digits",
                   Shown(source), "write a percent sign as %25"});
  } else if (!path->starts_with('/')) {
    problems->Add({kPath, "the path is not absolute", "file:///absolute/path",
                   Shown(std::string_view(uri->text)), "three slashes: file:///path"});
  } else {
    uri->path = *path;
  }
  FileReader(&reader, uri, problems).Read();
}

void ReadStored(std::string_view text, ObjectReader& reader, DatasetUri* uri, Problems* problems) {
  auto reference = ParseDatasetReference(text, problems);
  if (reference) {
    uri->stored_as = reference->FullName();
    uri->path = std::move(reference->path);
  }
  FileReader(&reader, uri, problems).Read();
}

void ReadRemote(std::string_view text, ObjectReader& reader, DatasetUri* uri, Problems* problems) {
  uri->remote.url = std::string(text);
  auto url = ParseRemoteUrl(text, problems);
  if (url) uri->path = url->FileName();
  FileReader(&reader, uri, problems).Read();
  auto list = reader.Text({kSha256Parameter});
  std::map<std::string, std::string> hashes;
  if (list) hashes = ParseSha256List(*list, problems).value_or(std::move(hashes));
  const bool labels_are_missing = uri->kind == Kind::kNpy && reader.Find({"labels"}) == nullptr;
  if (url && !labels_are_missing) ChooseRemoteFiles(*url, hashes, uri, problems);
}

// Whether a data set has a parameter of that name, whatever its kind.
bool IsParameter(std::string_view name) {
  const Json parameters{{std::string(name), ""}};
  Problems refused, unknown;
  DatasetUri uri;
  ObjectReader reader(parameters, kPath, &unknown, ObjectReader::Values::kQuery);
  FileReader(&reader, &uri, &refused).Read();
  const size_t before = unknown.count();
  reader.RefuseUnknown();
  return name == kSha256Parameter || unknown.count() == before;
}

// Who writes the parameters where file:// has them would train without them. A '#' at the end says
// that they are meant for the other machine.
void CheckQueryOfUrl(std::string_view query, Problems* problems) {
  while (!query.empty()) {
    const std::string_view part = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), part.size() + 1));
    if (!IsParameter(part.substr(0, part.find('=')))) continue;
    problems->Add({kPath, "parameters of the data set follow '#' here, not '?'",
                   "https://HOST/PATH#" + std::string(part), "'?" + std::string(part) + "'",
                   "if it is meant for that host, end the URL with '#'"});
    return;
  }
}

}  // namespace

std::optional<DatasetUri> ParseDatasetUri(const std::string& text, Problems* problems) {
  const size_t problems_before = problems->count();
  if (text.empty()) {
    problems->Add(
        {kPath, "the job names no data set", kForms, "nothing", "try mock://random_data"});
    return std::nullopt;
  }
  if (text.size() > kMaxUriBytes || !IsPlainText(text)) {
    problems->Add(
        {kPath, "the URI is too long or not plain text",
         "at most " + std::to_string(kMaxUriBytes) + " bytes of UTF-8 without control characters",
         Shown(std::string_view(text)), ""});
    return std::nullopt;
  }
  DatasetUri uri;
  uri.text = text;
  std::string_view rest = text;
  const bool mock = rest.starts_with("mock://"), file = rest.starts_with("file://"),
             stored = rest.starts_with(kDatasetScheme),
             https = rest.starts_with(kHttpsScheme) || rest.starts_with(kHttpScheme),
             s3 = rest.starts_with(kS3Scheme);
  if (!mock && !file && !stored && !https && !s3) {
    problems->Add({kPath, "the URI is of no known kind", kForms, Shown(rest),
                   text[0] == '/' ? "write file://" + text : ""});
    return std::nullopt;
  }
  // Of https:// the query is the URL's own.
  const std::string_view whole = rest.substr(0, rest.find(https ? '#' : '?'));
  if (https && whole.size() == rest.size() && whole.find('?') != whole.npos)
    CheckQueryOfUrl(whole.substr(whole.find('?') + 1), problems);
  rest.remove_prefix(rest.find("://") + 3);
  std::string_view source = rest.substr(0, rest.find(https ? '#' : '?'));
  std::string_view query = rest.substr(std::min(rest.size(), source.size() + 1));
  Json parameters = ParseQuery(query, problems);
  ObjectReader reader(parameters, kPath, problems, ObjectReader::Values::kQuery);
  if (mock) ReadMock(source, reader, &uri, problems);
  if (file) ReadFile(source, reader, &uri, problems);
  if (stored) ReadStored(text, reader, &uri, problems);
  if (https || s3) ReadRemote(whole, reader, &uri, problems);
  reader.RefuseUnknown();
  if (problems->count() > problems_before) return std::nullopt;
  return uri;
}

DatasetInfo MockInfo(const DatasetUri& uri) {
  DatasetInfo info;
  info.sample_shape = {uri.features};
  info.train_samples = uri.samples;
  info.test_samples = uri.test_samples;
  info.classes = uri.classes;
  info.values = DatasetInfo::Values::kAround;
  // float32 features and an int64 label.
  info.bytes_in_memory =
      Product(Sum(uri.samples, uri.test_samples), Sum(Product(4, uri.features), 8));
  info.description = "mock data of " + std::to_string(uri.features) + " features, " +
                     std::to_string(uri.samples) + " train and " +
                     std::to_string(uri.test_samples) + " test samples, " +
                     std::to_string(uri.classes) + " classes";
  return info;
}

}  // namespace cyxwiz::spec
