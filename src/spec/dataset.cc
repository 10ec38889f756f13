#include "spec/dataset.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "base/resources.h"
#include "spec/count.h"
#include "spec/object_reader.h"

namespace cyxwiz::spec {
namespace {

constexpr size_t kMaxUriBytes = 4096;
constexpr int64_t kMaxMockSamples = 100'000'000;
constexpr int64_t kMaxMockFeatures = 1'000'000;
constexpr int64_t kMaxMockClasses = 100'000;
const char kPath[] = "$.dataset";
const char kForms[] = "mock://random_data or file:///absolute/path";

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// nullopt for a '%' without two hexadecimal digits, and for a zero byte, which no path can hold.
std::optional<std::string> Decode(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      int high = i + 2 < text.size() ? HexDigit(text[i + 1]) : -1;
      int low = i + 2 < text.size() ? HexDigit(text[i + 2]) : -1;
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    if (c == '\0') return std::nullopt;
    decoded += c;
  }
  return decoded;
}

// The parameters after '?', as an object of texts.
Json ParseQuery(std::string_view query, Problems* problems) {
  Json parameters = Json::object();
  while (!query.empty()) {
    std::string_view part = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), part.size() + 1));
    size_t equals = part.find('=');
    auto name = Decode(part.substr(0, equals));
    auto value =
        equals == part.npos ? std::optional<std::string>() : Decode(part.substr(equals + 1));
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
  uri->samples = reader.Whole({"samples"}, 1, kMaxMockSamples).value_or(uri->samples);
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

void ReadFile(std::string_view source, ObjectReader& reader, DatasetUri* uri, Problems* problems) {
  if (source.starts_with("localhost/")) source.remove_prefix(9);
  auto path = Decode(source);
  if (!path) {
    problems->Add({kPath, "the path has a malformed % code", "% and two hexadecimal digits",
                   Shown(source), "write a percent sign as %25"});
  } else if (!path->starts_with('/')) {
    problems->Add({kPath, "the path is not absolute", "file:///absolute/path",
                   Shown(std::string_view(uri->text)), "three slashes: file:///path"});
  } else {
    uri->path = *path;
  }
  auto labels = reader.Text({"labels"});
  if (HasSuffix(uri->path, ".csv") || HasSuffix(uri->path, ".csv.gz")) {
    uri->kind = DatasetUri::Kind::kCsv;
    uri->label_column = reader.Text({"label"}).value_or("");
    uri->has_header = reader.Bool({"header"});
    if (labels) {
      reader.Refuse({"labels"}, "is for IDX files", "\"label\"",
                    "name the label's column with label=");
    }
  } else if (labels) {
    uri->kind = DatasetUri::Kind::kIdxPair;
    uri->labels_path = *labels;
    if (!labels->starts_with('/')) {
      reader.Refuse({"labels"}, "is not an absolute path", "/absolute/path/of/labels-file");
    }
  } else {
    uri->kind = DatasetUri::Kind::kIdxFolder;
    for (const char* name : {"label", "header"}) {
      if (reader.Find({name}) != nullptr) {
        reader.Refuse({name}, "is for CSV files", "a path that ends in .csv or .csv.gz");
      }
    }
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
  const bool mock = rest.starts_with("mock://"), file = rest.starts_with("file://");
  if (!mock && !file) {
    problems->Add({kPath, "the URI is of no known kind", kForms, Shown(rest),
                   text[0] == '/' ? "write file://" + text : ""});
    return std::nullopt;
  }
  rest.remove_prefix(7);
  std::string_view source = rest.substr(0, rest.find('?'));
  std::string_view query = rest.substr(std::min(rest.size(), source.size() + 1));
  Json parameters = ParseQuery(query, problems);
  ObjectReader reader(parameters, kPath, problems, ObjectReader::Values::kQuery);
  mock ? ReadMock(source, reader, &uri, problems) : ReadFile(source, reader, &uri, problems);
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
