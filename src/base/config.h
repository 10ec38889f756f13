// Configuration of a program from a TOML file, the environment and flags. Flags weigh most, then
// the environment, then the file, then the default. Every setting is declared once, and --help, the
// file's keys and the variables' names follow from that declaration.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"

namespace cyxwiz {

class Config {
 public:
  // program: for --help; environment_prefix: "CYXWIZ_SERVER" gives CYXWIZ_SERVER_GRPC_LISTEN for
  // "grpc.listen".
  Config(std::string program, std::string description, std::string environment_prefix);

  // Declares a setting. key is the TOML key ("grpc.listen"); the flag is --grpc-listen. The value
  // stands in *target after Parse, the present value of *target being the default.
  void Add(const std::string& key, std::string* target, const std::string& help);
  void Add(const std::string& key, int64_t* target, const std::string& help,
           int64_t least = INT64_MIN, int64_t most = INT64_MAX);
  void Add(const std::string& key, double* target, const std::string& help);
  void Add(const std::string& key, bool* target, const std::string& help);
  // Repeated flag; comma-separated in the environment; an array in TOML.
  void Add(const std::string& key, std::vector<std::string>* target, const std::string& help);

  // Reads argv, the environment and the file named by --config (or ENVIRONMENT_PREFIX_CONFIG).
  // INVALID_ARGUMENT with a hint for an unknown key or flag and for a value of the wrong type.
  // *done is true when --help or
  // --version was asked for and printed.
  Status Parse(int argc, const char* const* argv, bool* done);

  std::string Help() const;

 private:
  struct Setting {
    std::string key, flag, variable, help, default_text, type;
    std::function<Status(const std::string& text)> set;  // one value as text
    std::function<void()> clear;                         // before the first value of a list
    bool is_list = false, is_bool = false;
  };
  Status Set(Setting& setting, const std::vector<std::string>& values, const std::string& where);
  void Declare(Setting setting);
  Status ReadToml(const std::string& path,
                  std::map<std::string, std::vector<std::string>>* values) const;
  std::vector<std::string> Keys() const;
  // A variable with this program's prefix must be one of its settings.
  Status CheckEnvironment() const;
  std::string DidYouMean(const std::string& nearest) const;  // "": the help

  std::string program_, description_, prefix_;
  std::vector<Setting> settings_;
};

}  // namespace cyxwiz
