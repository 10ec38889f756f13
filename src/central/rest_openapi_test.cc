// The server and docs/reference/openapi.yaml must agree: routes, methods, query parameters, names
// of fields and of enum values.
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <cctype>
#include <cstdio>
#include <set>
#include <string>

#include "base/json.h"
#include "central/rest_api.h"

namespace cyxwiz::central {
namespace {

using google::protobuf::DescriptorPool;

// Debian's python3-yaml reads the file; scripts/setup.sh installs it.
const Json& Description() {
  static const Json description = [] {
    std::string command =
        "/usr/bin/python3 -c 'import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), "
        "sys.stdout)' "
        "'" CYXWIZ_OPENAPI "'";
    std::string text;
    std::FILE* pipe = ::popen(command.c_str(), "r");
    char buffer[4096];
    for (size_t n; pipe != nullptr && (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;)
      text.append(buffer, n);
    EXPECT_TRUE(pipe != nullptr && ::pclose(pipe) == 0)
        << "python3-yaml is missing: run scripts/setup.sh packages";
    return Json::parse(text, nullptr, false);
  }();
  return description;
}

// Follows "$ref".
const Json& Resolve(const Json& json) {
  if (!json.is_object() || !json.contains("$ref")) return json;
  return Description().at(Json::json_pointer(json["$ref"].get<std::string>().substr(1)));
}

std::string Upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

TEST(OpenApi, HasExactlyTheRoutesOfTheServer) {
  std::set<std::string> served, described, ids;
  for (const HttpRoute& route : RestApi::Routes()) {
    EXPECT_TRUE(served.insert(route.method + std::string(" ") + route.pattern).second)
        << route.pattern << " twice";
  }
  for (const auto& [path, item] : Description()["paths"].items()) {
    for (const auto& [method, operation] : item.items()) {
      if (method == "parameters") continue;
      described.insert(Upper(method) + " " + path);
      EXPECT_TRUE(ids.insert(operation["operationId"]).second) << operation["operationId"];
    }
  }
  EXPECT_EQ(served, described);
}

TEST(OpenApi, HasTheParametersOfEachRoute) {
  std::vector<HttpRoute> routes = RestApi::Routes();
  for (size_t i = 0; i < routes.size(); ++i) {
    std::string method = routes[i].method;
    for (char& c : method) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    const Json& item = Description()["paths"][routes[i].pattern];
    std::set<std::string> query, path;
    for (const Json& list : {item.value("parameters", Json::array()),
                             item[method].value("parameters", Json::array())}) {
      for (const Json& entry : list) {
        const Json& parameter = Resolve(entry);
        if (parameter["in"] == "query") query.insert(parameter["name"]);
        if (parameter["in"] == "path")
          path.insert("{" + parameter["name"].get<std::string>() + "}");
      }
    }
    std::vector<std::string> known = RestApi::QueryParameters(i);
    EXPECT_EQ(query, std::set<std::string>(known.begin(), known.end())) << routes[i].pattern;
    for (const std::string& name : path) {
      EXPECT_NE(std::string(routes[i].pattern).find(name), std::string::npos) << routes[i].pattern;
    }
    EXPECT_EQ(path.size(), std::string(routes[i].pattern).find('{') == std::string::npos ? 0u : 1u)
        << routes[i].pattern;
  }
}

TEST(OpenApi, NamesFieldsAndEnumValuesAsTheProtosDo) {
  const DescriptorPool& pool = *DescriptorPool::generated_pool();
  ASSERT_NE(protocol::NodeInfo::descriptor(), nullptr);  // links the protos in
  int messages = 0, enums = 0;
  for (const auto& [name, schema] : Description()["components"]["schemas"].items()) {
    if (const auto* type = pool.FindEnumTypeByName("cyxwiz.protocol." + name)) {
      ++enums;
      Json names = Json::array();
      for (int i = 0; i < type->value_count(); ++i) names.push_back(type->value(i)->name());
      EXPECT_EQ(schema["enum"], names) << name;
    } else if (const auto* message = pool.FindMessageTypeByName("cyxwiz.protocol." + name);
               message && name != "Problem") {
      ++messages;
      for (const auto& [property, ignored] : schema["properties"].items()) {
        EXPECT_NE(message->FindFieldByName(property), nullptr) << name << "." << property;
      }
    }
  }
  EXPECT_EQ(enums, 7);
  EXPECT_EQ(messages, 15);
}

}  // namespace
}  // namespace cyxwiz::central
