#include "wire/json.h"

#include <gtest/gtest.h>

#include <cmath>

#include "cyxwiz/protocol/job.pb.h"
#include "cyxwiz/protocol/node.pb.h"

namespace cyxwiz::wire {
namespace {

using protocol::JobConfig;
using protocol::JobStatus;

TEST(WireJson, NamesAreThoseOfTheProtosAndDefaultsAreSpeltOut) {
  JobStatus status;
  status.set_job_id("j1");
  status.set_status(protocol::STATUS_IN_PROGRESS);
  (*status.mutable_metrics())["train_loss"] = 0.25;
  Json json = ToJson(status);
  EXPECT_EQ(json["job_id"], "j1");
  EXPECT_EQ(json["status"], "STATUS_IN_PROGRESS");
  EXPECT_EQ(json["progress"], 0.0);
  EXPECT_EQ(json["current_node_id"], "");
  EXPECT_EQ(json["metrics"], Json({{"train_loss", 0.25}}));
  EXPECT_EQ(json["reasons"], Json::array());
  EXPECT_FALSE(json.contains("error")) << "a message that is not set is left out";
}

TEST(WireJson, OptionalFieldsAreThereOnlyWhenSet) {
  JobConfig config;
  EXPECT_FALSE(ToJson(config).contains("max_retries"));
  config.set_max_retries(0);
  EXPECT_EQ(ToJson(config)["max_retries"], 0);
}

TEST(WireJson, SixtyFourBitIntegersAreExactNumbers) {
  JobConfig config;
  config.set_estimated_memory(INT64_MAX);
  config.set_estimated_duration(INT64_MIN);
  std::string text = ToJsonText(config);
  EXPECT_NE(text.find("9223372036854775807"), std::string::npos);
  JobConfig read;
  ASSERT_TRUE(FromJson(*ParseJson(text, "text"), &read).ok());
  EXPECT_EQ(read.SerializeAsString(), config.SerializeAsString());
}

TEST(WireJson, AMessageWithEveryKindOfFieldRoundTrips) {
  protocol::RegisterNodeRequest request;
  protocol::NodeInfo* info = request.mutable_info();
  info->set_node_id("n");
  info->mutable_version()->set_major(1);
  info->add_devices()->set_device_type(protocol::DEVICE_CUDA);
  info->add_supported_formats("safetensors");
  info->set_uptime_percentage(1.0 / 3);
  info->set_is_online(true);
  info->mutable_pricing()->set_billing_model(protocol::NodePricing::BILLING_PER_JOB);
  for (int length = 0; length < 6; ++length) {
    request.set_public_key(
        std::string("\0\xff\x80\x01~", 5).substr(0, static_cast<size_t>(length)));
    protocol::RegisterNodeRequest read;
    Status status = FromJson(*ParseJson(ToJsonText(request), "text"), &read);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(ToJson(read), ToJson(request));
    EXPECT_EQ(read.public_key(), request.public_key());
  }
  EXPECT_EQ(ToJson(request)["info"]["devices"][0]["device_type"], "DEVICE_CUDA");
}

TEST(WireJson, BytesAreBase64) {
  protocol::SubmitJobRequest request;
  request.set_initial_data("hello");
  EXPECT_EQ(ToJson(request)["initial_data"], "aGVsbG8=");
}

TEST(WireJson, NumbersThatAreNotFiniteAreText) {
  JobStatus status;
  (*status.mutable_metrics())["a"] = std::nan("");
  (*status.mutable_metrics())["b"] = -INFINITY;
  Json json = ToJson(status);
  EXPECT_EQ(json["metrics"], Json({{"a", "NaN"}, {"b", "-Infinity"}}));
  JobStatus read;
  ASSERT_TRUE(FromJson(json, &read).ok());
  EXPECT_TRUE(std::isnan(read.metrics().at("a")));
}

TEST(WireJson, TextThatIsNotUtf8DoesNotThrow) {
  JobStatus status;
  status.set_message("\xff");
  EXPECT_NE(ToJsonText(status).find("\xef\xbf\xbd"), std::string::npos);
}

TEST(WireJson, AnUnknownEnumValueIsItsNumber) {
  JobStatus status;
  status.set_status(static_cast<protocol::StatusCode>(99));
  EXPECT_EQ(ToJson(status)["status"], 99);
}

TEST(WireJson, EnumsAreReadByNameOrNumber) {
  JobConfig config;
  ASSERT_TRUE(FromJson({{"job_type", "JOB_TYPE_EVALUATION"}, {"priority", 3}}, &config).ok());
  EXPECT_EQ(config.job_type(), protocol::JOB_TYPE_EVALUATION);
  EXPECT_EQ(config.priority(), protocol::PRIORITY_CRITICAL);
}

struct Refused {
  const char* json;
  const char* message;
  const char* hint;
};

class WireJsonRefuses : public testing::TestWithParam<Refused> {};

TEST_P(WireJsonRefuses, NamingPathExpectationAndFinding) {
  protocol::SubmitJobRequest request;
  Status status = FromJson(Json::parse(GetParam().json), &request);
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_NE(status.message().find(GetParam().message), std::string::npos) << status;
  EXPECT_NE(status.hint().find(GetParam().hint), std::string::npos) << status;
}

INSTANTIATE_TEST_SUITE_P(
    Everything, WireJsonRefuses,
    testing::Values(
        Refused{R"([])", "$: expected an object, found []", ""},
        Refused{R"({"config": 3})", "$.config: expected an object, found 3", ""},
        Refused{R"({"config": {"epochz": 3}})", "$.config.epochz: JobConfig has no field 'epochz'",
                "did you mean 'epochs'?"},
        Refused{
            R"({"config": {"epochs": "3"}})",
            "$.config.epochs: expected a whole number from -2147483648 to 2147483647, found \"3\"",
            ""},
        Refused{R"({"config": {"epochs": 3.5}})", "found 3.5", ""},
        Refused{R"({"config": {"epochs": 2147483648}})", "found 2147483648", ""},
        Refused{R"({"config": {"estimated_memory": 9223372036854775808}})",
                "found 9223372036854775808", ""},
        Refused{R"({"config": {"epochs": null}})", "found null", ""},
        Refused{R"({"config": {"payment_amount": "much"}})",
                "$.config.payment_amount: expected a number", ""},
        Refused{R"({"config": {"model_definition": {}}})",
                "$.config.model_definition: expected a text, found {}", ""},
        Refused{R"({"config": {"hyperparameters": {"epochs": 3}}})",
                "$.config.hyperparameters.epochs: expected a text, found 3", ""},
        Refused{R"({"config": {"hyperparameters": []}})", "expected an object", ""},
        Refused{R"({"config": {"job_type": "training"}})",
                "expected one of JOB_TYPE_UNKNOWN, JOB_TYPE_TRAINING",
                "did you mean 'JOB_TYPE_TRAINING'?"},
        Refused{R"({"config": {"job_type": true}})", "expected the name of a JobType, found true",
                ""},
        Refused{R"({"initial_data": "a"})", "$.initial_data: expected base64 text", ""},
        Refused{R"({"initial_data": "ab!="})", "expected base64 text", ""},
        Refused{R"({"initial_data": "aGVsbG9="})", "expected base64 text", ""},
        Refused{R"({"initial_data": "===="})", "expected base64 text", ""}));

TEST(WireJson, AnItemOfAnArrayIsNamedByItsPlace) {
  protocol::FindNodesRequest request;
  Status status = FromJson({{"allowed_regions", {"eu", 7}}}, &request);
  EXPECT_NE(status.message().find("$.allowed_regions[1]: expected a text, found 7"),
            std::string::npos)
      << status;
}

TEST(WireJson, ReadingReplacesWhatWasThere) {
  JobConfig config;
  config.set_epochs(3);
  ASSERT_TRUE(FromJson(Json::object(), &config).ok());
  EXPECT_EQ(config.epochs(), 0);
}

TEST(WireJson, EnumsFromTextForQueryParameters) {
  const auto& type = *protocol::StatusCode_descriptor();
  EXPECT_EQ(*EnumFromText(type, "STATUS_FAILED", "filter_status"), protocol::STATUS_FAILED);
  EXPECT_EQ(*EnumFromText(type, "6", "filter_status"), 6);
  EXPECT_EQ(EnumFromText(type, "failed", "filter_status").status().hint(),
            "did you mean 'STATUS_FAILED'?");
}

}  // namespace
}  // namespace cyxwiz::wire
