// Compares the compiled protos with contract.json, the golden file of the wire contract: names,
// numbers, types and labels below 100 are fixed for ever, and what we add stands at 100 and above.
//
// contract.json: for each proto file
//   enums     [name, [[value, "number"], ...]]       a nested one as "Message.Enum"
//   messages  [name, [[number, field, type], ...]]   type: "int64", "repeated Error",
//   "map<string,double>" services  [name, [[method, client_stream, request, server_stream,
//   response], ...]]    null: not a stream
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "base/file.h"
#include "base/json.h"
#include "cyxwiz/protocol/agent.pb.h"
#include "cyxwiz/protocol/common.pb.h"
#include "cyxwiz/protocol/deployment.pb.h"
#include "cyxwiz/protocol/job.pb.h"
#include "cyxwiz/protocol/log.pb.h"
#include "cyxwiz/protocol/node.pb.h"

namespace cyxwiz {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;

constexpr int kFirstOwnNumber = 100;
const std::string kPackage = "cyxwiz.protocol.";

const Json& Contract() {
  static const Json contract = [] {
    Result<std::string> text = ReadFile(CYXWIZ_CONTRACT);
    EXPECT_TRUE(text.ok()) << text.status();
    return Json::parse(*text);
  }();
  return contract;
}

// Naming one message of each file links it in.
const DescriptorPool& Pool() {
  for (const Descriptor* linked :
       {protocol::Error::descriptor(), protocol::JobConfig::descriptor(),
        protocol::NodeInfo::descriptor(), protocol::Deployment::descriptor(),
        protocol::LogChunk::descriptor(), protocol::StopAttemptRequest::descriptor()}) {
    EXPECT_NE(linked, nullptr);
  }
  return *DescriptorPool::generated_pool();
}

std::string Short(const std::string& full_name) {
  return full_name.rfind(kPackage, 0) == 0 ? full_name.substr(kPackage.size()) : full_name;
}

std::string BareType(const FieldDescriptor* field) {
  if (field->type() == FieldDescriptor::TYPE_MESSAGE)
    return Short(field->message_type()->full_name());
  if (field->type() == FieldDescriptor::TYPE_ENUM) return Short(field->enum_type()->full_name());
  return field->type_name();
}

std::string Type(const FieldDescriptor* field) {
  if (field->is_map()) {
    return "map<" + BareType(field->message_type()->map_key()) + "," +
           BareType(field->message_type()->map_value()) + ">";
  }
  std::string label = field->is_repeated()            ? "repeated "
                      : field->has_optional_keyword() ? "optional "
                                                      : "";
  return label + BareType(field);
}

TEST(WireContract, EveryFileIsThereInItsPackage) {
  ASSERT_FALSE(Contract().empty());
  for (const auto& [name, content] : Contract().items()) {
    const FileDescriptor* file = Pool().FindFileByName("cyxwiz/protocol/" + name);
    ASSERT_NE(file, nullptr) << name;
    EXPECT_EQ(file->package(), "cyxwiz.protocol");
    EXPECT_EQ(file->syntax(), FileDescriptor::SYNTAX_PROTO3);
  }
}

TEST(WireContract, EnumsHaveTheirValues) {
  int values = 0;
  for (const auto& [file, content] : Contract().items()) {
    for (const Json& entry : content["enums"]) {
      const EnumDescriptor* type =
          Pool().FindEnumTypeByName(kPackage + entry[0].get<std::string>());
      ASSERT_NE(type, nullptr) << entry[0];
      EXPECT_EQ(type->file()->name(), "cyxwiz/protocol/" + file);
      std::set<std::string> fixed;
      for (const Json& value : entry[1]) {
        std::string name = value[0];
        fixed.insert(name);
        const auto* found = type->FindValueByName(name);
        ASSERT_NE(found, nullptr) << entry[0] << "." << name;
        EXPECT_EQ(std::to_string(found->number()), value[1].get<std::string>())
            << entry[0] << "." << name;
        ++values;
      }
      for (int i = 0; i < type->value_count(); ++i) {
        if (fixed.count(type->value(i)->name()) == 0) {
          EXPECT_GE(type->value(i)->number(), kFirstOwnNumber) << type->value(i)->full_name();
        }
      }
    }
  }
  EXPECT_GT(values, 50);
}

TEST(WireContract, MessagesHaveTheirFieldsAndOursStandAt100AndAbove) {
  int fields = 0;
  for (const auto& [file, content] : Contract().items()) {
    for (const Json& entry : content["messages"]) {
      const Descriptor* type = Pool().FindMessageTypeByName(kPackage + entry[0].get<std::string>());
      ASSERT_NE(type, nullptr) << entry[0];
      EXPECT_EQ(type->file()->name(), "cyxwiz/protocol/" + file);
      std::set<int> fixed;
      for (const Json& expected : entry[1]) {
        int number = expected[0];
        fixed.insert(number);
        const FieldDescriptor* field = type->FindFieldByNumber(number);
        ASSERT_NE(field, nullptr) << entry[0] << " has no field " << number;
        EXPECT_EQ(field->name(), expected[1].get<std::string>()) << entry[0] << " field " << number;
        EXPECT_EQ(Type(field), expected[2].get<std::string>()) << field->full_name();
        ++fields;
      }
      for (int i = 0; i < type->field_count(); ++i) {
        if (fixed.count(type->field(i)->number()) == 0) {
          EXPECT_GE(type->field(i)->number(), kFirstOwnNumber) << type->field(i)->full_name();
        }
      }
    }
  }
  EXPECT_GT(fields, 300);
}

TEST(WireContract, ServicesHaveExactlyTheirMethods) {
  int methods = 0;
  for (const auto& [file, content] : Contract().items()) {
    std::map<std::string, const ServiceDescriptor*> ours;
    const FileDescriptor* descriptor = Pool().FindFileByName("cyxwiz/protocol/" + file);
    ASSERT_NE(descriptor, nullptr);
    for (int i = 0; i < descriptor->service_count(); ++i) {
      ours[descriptor->service(i)->name()] = descriptor->service(i);
    }
    for (const Json& entry : content["services"]) {
      const ServiceDescriptor* service = ours[entry[0]];
      ASSERT_NE(service, nullptr) << entry[0];
      EXPECT_EQ(service->method_count(), static_cast<int>(entry[1].size())) << entry[0];
      for (const Json& expected : entry[1]) {
        const MethodDescriptor* method = service->FindMethodByName(expected[0]);
        ASSERT_NE(method, nullptr) << entry[0] << "." << expected[0];
        EXPECT_EQ(method->client_streaming(), !expected[1].is_null()) << method->full_name();
        EXPECT_EQ(Short(method->input_type()->full_name()), expected[2].get<std::string>())
            << method->full_name();
        EXPECT_EQ(method->server_streaming(), !expected[3].is_null()) << method->full_name();
        EXPECT_EQ(Short(method->output_type()->full_name()), expected[4].get<std::string>())
            << method->full_name();
        ++methods;
      }
    }
  }
  EXPECT_GT(methods, 25);
}

}  // namespace
}  // namespace cyxwiz
