#include "base/config.h"

#include <toml++/toml.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "base/suggest.h"
#include "base/text.h"

namespace cyxwiz {
namespace {

std::string FlagOf(const std::string& key) {
  std::string flag = "--" + key;
  std::replace(flag.begin(), flag.end(), '.', '-');
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

std::string VariableOf(const std::string& prefix, const std::string& key) {
  std::string variable = prefix + "_" + key;
  for (char& c : variable)
    c = c == '.' || c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return variable;
}

std::vector<std::string> SplitCommas(const std::string& text) {
  std::vector<std::string> parts;
  std::stringstream in(text);
  for (std::string part; std::getline(in, part, ',');) {
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

// Every leaf of the table as key → values.
Status Flatten(const toml::table& table, const std::string& prefix,
               std::map<std::string, std::vector<std::string>>* values) {
  for (auto&& [name, node] : table) {
    std::string key = prefix + std::string(name.str());
    auto scalar = [&](const toml::node& value) -> std::optional<std::string> {
      if (auto v = value.value_exact<std::string>()) return *v;
      if (auto v = value.value_exact<int64_t>()) return std::to_string(*v);
      if (auto v = value.value_exact<bool>()) return *v ? "true" : "false";
      if (auto v = value.value_exact<double>()) {
        char text[40];
        std::snprintf(text, sizeof text, "%.17g", *v);
        return text;
      }
      return std::nullopt;
    };
    if (const toml::table* inner = node.as_table()) {
      RETURN_IF_ERROR(Flatten(*inner, key + ".", values));
    } else if (const toml::array* array = node.as_array()) {
      auto& list = (*values)[key];
      for (const toml::node& element : *array) {
        auto text = scalar(element);
        if (!text) return InvalidArgument("'" + key + "': expected an array of plain values");
        list.push_back(*text);
      }
    } else if (auto text = scalar(node)) {
      (*values)[key] = {*text};
    } else {
      return InvalidArgument("'" + key + "': dates and times are not settings");
    }
  }
  return OkStatus();
}

// Also when only what follows the table's name is nearly right.
std::string NearestKey(const std::string& key, const std::vector<std::string>& keys) {
  std::string nearest = NearestName(key, keys);
  if (!nearest.empty()) return nearest;
  auto last = [](const std::string& of) { return of.substr(of.rfind('.') + 1); };
  std::vector<std::string> lasts;
  for (const std::string& one : keys) lasts.push_back(last(one));
  nearest = NearestName(last(key), lasts);
  auto found = std::find(lasts.begin(), lasts.end(), nearest);
  return nearest.empty() ? "" : keys[static_cast<size_t>(found - lasts.begin())];
}

}  // namespace

Config::Config(std::string program, std::string description, std::string environment_prefix)
    : program_(std::move(program)),
      description_(std::move(description)),
      prefix_(std::move(environment_prefix)) {}

void Config::Declare(Setting setting) {
  setting.flag = FlagOf(setting.key);
  setting.variable = VariableOf(prefix_, setting.key);
  settings_.push_back(std::move(setting));
}

void Config::Add(const std::string& key, std::string* target, const std::string& help) {
  Declare({.key = key,
           .help = help,
           .default_text = *target,
           .type = "TEXT",
           .set = [target](const std::string& text) {
             *target = text;
             return OkStatus();
           }});
}

void Config::Add(const std::string& key, int64_t* target, const std::string& help, int64_t least,
                 int64_t most) {
  Declare({.key = key,
           .help = help,
           .default_text = std::to_string(*target),
           .type = "N",
           .set = [target, least, most](const std::string& text) -> Status {
             auto value = ParseInt(text);
             if (!value) return InvalidArgument("expected a whole number, found '" + text + "'");
             if (*value < least || *value > most) {
               return InvalidArgument("expected a number from " + std::to_string(least) + " to " +
                                      std::to_string(most) + ", found " + text);
             }
             *target = *value;
             return OkStatus();
           }});
}

void Config::Add(const std::string& key, double* target, const std::string& help) {
  std::ostringstream default_text;
  default_text << *target;
  Declare({.key = key,
           .help = help,
           .default_text = default_text.str(),
           .type = "X",
           .set = [target](const std::string& text) -> Status {
             auto value = ParseDouble(text);
             if (!value || *value != *value)
               return InvalidArgument("expected a number, found '" + text + "'");
             *target = *value;
             return OkStatus();
           }});
}

void Config::Add(const std::string& key, bool* target, const std::string& help) {
  Declare({.key = key,
           .help = help,
           .default_text = *target ? "true" : "false",
           .type = "",
           .set = [target](const std::string& text) -> Status {
             if (text == "true" || text == "1")
               *target = true;
             else if (text == "false" || text == "0")
               *target = false;
             else
               return InvalidArgument("expected true or false, found '" + text + "'");
             return OkStatus();
           },
           .is_bool = true});
}

void Config::Add(const std::string& key, std::vector<std::string>* target,
                 const std::string& help) {
  std::string default_text;
  for (const std::string& value : *target)
    default_text += (default_text.empty() ? "" : ",") + value;
  Declare({.key = key,
           .help = help,
           .default_text = default_text,
           .type = "TEXT",
           .set =
               [target](const std::string& text) {
                 target->push_back(text);
                 return OkStatus();
               },
           .clear = [target] { target->clear(); },
           .is_list = true});
}

std::vector<std::string> Config::Keys() const {
  std::vector<std::string> keys;
  for (const Setting& setting : settings_) keys.push_back(setting.key);
  return keys;
}

Status Config::Set(Setting& setting, const std::vector<std::string>& values,
                   const std::string& where) {
  if (!setting.is_list && values.size() != 1)
    return InvalidArgument(where + ": expected one value, found a list");
  if (setting.clear) setting.clear();
  for (const std::string& value : values) {
    Status status = setting.set(value);
    if (!status.ok())
      return InvalidArgument(where + ": " + status.message(), "see " + program_ + " --help");
  }
  return OkStatus();
}

Status Config::ReadToml(const std::string& path,
                        std::map<std::string, std::vector<std::string>>* values) const {
  toml::table table;
  try {
    table = toml::parse_file(path);
  } catch (const toml::parse_error& e) {
    std::ostringstream message;
    message << "configuration file '" << path << "'";
    if (e.source().begin.line > 0) message << ", line " << e.source().begin.line;
    message << ": " << e.description();
    return InvalidArgument(message.str());
  }
  Status status = Flatten(table, "", values);
  if (!status.ok())
    return InvalidArgument("configuration file '" + path + "': " + status.message());
  for (const auto& [key, value] : *values) {
    auto keys = Keys();
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
      return InvalidArgument("configuration file '" + path + "': unknown key '" + key + "'",
                             DidYouMean(NearestKey(key, keys)));
    }
  }
  return OkStatus();
}

std::string Config::DidYouMean(const std::string& nearest) const {
  return nearest.empty() ? "see " + program_ + " --help" : "did you mean '" + nearest + "'?";
}

Status Config::CheckEnvironment() const {
  const std::string prefix = prefix_ + "_";
  std::vector<std::string> names = {prefix_ + "_CONFIG"};
  for (const Setting& setting : settings_) names.push_back(setting.variable);
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string name(text.substr(0, text.find('=')));
    if (!name.starts_with(prefix) || std::find(names.begin(), names.end(), name) != names.end())
      continue;
    return InvalidArgument("unknown environment variable " + name,
                           DidYouMean(NearestName(name, names)));
  }
  return OkStatus();
}

Status Config::Parse(int argc, const char* const* argv, bool* done) {
  *done = false;
  std::map<std::string, std::vector<std::string>> flags;  // by flag
  for (int i = 1; i < argc; ++i) {
    std::string argument = argv[i];
    if (argument == "--help" || argument == "-h") {
      std::fputs(Help().c_str(), stdout);
      *done = true;
      return OkStatus();
    }
    if (argument == "--version") {
      std::printf("%s %s\n", program_.c_str(), CYXWIZ_VERSION);
      *done = true;
      return OkStatus();
    }
    std::string name = argument.substr(0, argument.find('='));
    bool has_value = name.size() != argument.size();
    auto setting = std::find_if(settings_.begin(), settings_.end(),
                                [&](const Setting& s) { return s.flag == name; });
    bool is_config = name == "--config";
    if (setting == settings_.end() && !is_config) {
      std::vector<std::string> names = {"--config", "--help", "--version"};
      for (const Setting& s : settings_) names.push_back(s.flag);
      return InvalidArgument("unknown flag '" + argument + "'",
                             DidYouMean(NearestName(name, names)));
    }
    std::string value;
    if (has_value) {
      value = argument.substr(name.size() + 1);
    } else if (!is_config && setting->is_bool) {
      value = "true";
    } else if (i + 1 < argc) {
      value = argv[++i];
    } else {
      return InvalidArgument("flag " + name + " needs a value", "see " + program_ + " --help");
    }
    auto& values = flags[name];
    if (is_config || !setting->is_list) values.clear();
    values.push_back(value);
  }

  RETURN_IF_ERROR(CheckEnvironment());
  std::string path;
  if (const char* variable = std::getenv((prefix_ + "_CONFIG").c_str())) path = variable;
  if (auto flag = flags.find("--config"); flag != flags.end()) path = flag->second[0];
  std::map<std::string, std::vector<std::string>> file;
  if (!path.empty()) RETURN_IF_ERROR(ReadToml(path, &file));

  for (Setting& setting : settings_) {
    if (auto flag = flags.find(setting.flag); flag != flags.end()) {
      RETURN_IF_ERROR(Set(setting, flag->second, "flag " + setting.flag));
    } else if (const char* variable = std::getenv(setting.variable.c_str())) {
      RETURN_IF_ERROR(
          Set(setting, setting.is_list ? SplitCommas(variable) : std::vector<std::string>{variable},
              "environment variable " + setting.variable));
    } else if (auto entry = file.find(setting.key); entry != file.end()) {
      RETURN_IF_ERROR(Set(setting, entry->second,
                          "configuration file '" + path + "', key '" + setting.key + "'"));
    }
  }
  return OkStatus();
}

std::string Config::Help() const {
  std::ostringstream out;
  out << program_ << " - " << description_ << "\n\nUsage: " << program_
      << " [--config FILE] [flags]\n\n"
      << "Each setting is a flag, an environment variable and a key of the TOML file; the flag "
         "weighs most, the file least.\n\n"
      << "  --config FILE\n        TOML file to read (" << prefix_ << "_CONFIG)\n";
  for (const Setting& s : settings_) {
    out << "  " << s.flag << (s.type.empty() ? "" : " " + s.type)
        << (s.is_list ? " (repeatable)" : "") << "\n        " << s.help << "\n        key " << s.key
        << ", variable " << s.variable;
    if (!s.default_text.empty()) out << ", default " << s.default_text;
    out << "\n";
  }
  out << "  --version\n        Print the version\n  --help\n        Print this\n";
  return out.str();
}

}  // namespace cyxwiz
