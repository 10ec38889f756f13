#include <gtest/gtest.h>

#include "base/file.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/logging.h"
#include "base/resources.h"
#include "base/suggest.h"
#include "base/testing.h"
#include "base/text.h"

namespace cyxwiz {
namespace {

TEST(Json, SaysWhereTheTextIsWrong) {
  auto result = ParseJson("{\n  \"a\": x}", "model_definition");
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), Code::kInvalidArgument);
  EXPECT_NE(result.status().message().find("model_definition"), std::string::npos);
  EXPECT_NE(result.status().message().find("line 2, column 8"), std::string::npos)
      << result.status();
}

TEST(Json, RefusesAMegabyteOfNestedBrackets) {
  auto result = ParseJson(std::string(1 << 20, '['), "model_definition");
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.status().message().find("deeper than 64"), std::string::npos);
}

TEST(Json, BracketsInStringsDoNotNest) {
  EXPECT_TRUE(ParseJson("[\"" + std::string(1000, '[') + "\\\"[\"]", "x").ok());
}

TEST(Json, RefusesDuplicateKeys) {
  auto result = ParseJson(R"({"units": 1, "units": 2})", "x");
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.status().message().find("\"units\" twice"), std::string::npos);
  EXPECT_TRUE(ParseJson(R"([{"a": 1}, {"a": 2}])", "x").ok());
}

TEST(Json, RefusesInvalidUtf8) { EXPECT_FALSE(ParseJson("\"\xff\"", "x").ok()); }

TEST(Suggest, FindsTheNearestNameAndOnlyANearOne) {
  std::vector<std::string> names = {"dense", "dropout", "conv2d"};
  EXPECT_EQ(NearestName("dence", names), "dense");
  EXPECT_EQ(NearestName("Dense", names), "dense");
  EXPECT_EQ(NearestName("ocnv2d", names), "conv2d");
  EXPECT_EQ(NearestName("transformer", names), "");
}

TEST(Text, ParsesWholeNumbersOnly) {
  EXPECT_EQ(ParseInt("42"), 42);
  EXPECT_EQ(ParseInt("-3"), -3);
  EXPECT_EQ(ParseInt("4x"), std::nullopt);
  EXPECT_EQ(ParseInt(""), std::nullopt);
  EXPECT_EQ(ParseInt("99999999999999999999"), std::nullopt);
  EXPECT_EQ(ParseDouble("1e-3"), 1e-3);
  EXPECT_EQ(ParseDouble("abc"), std::nullopt);
  EXPECT_EQ(ParseDouble("0.1 "), std::nullopt);
}

TEST(Ids, AreSafeInFileNames) {
  EXPECT_TRUE(IsValidId("job-1.a_B"));
  for (const char* bad : {"", ".", "..", "a/b", "-x", "a b", "a\n"})
    EXPECT_FALSE(IsValidId(bad)) << bad;
  EXPECT_FALSE(IsValidId(std::string(129, 'a')));
}

TEST(Resources, FormatForPeople) {
  EXPECT_EQ(ToString(Resources{1000, 512ll << 20, 0}), "1 core, 512 MiB");
  EXPECT_EQ(ToString(Resources{1500, 8ll << 30, 1000}), "1.5 cores, 8.0 GiB, 1 GPU");
  Resources share{1000, 1024, 250};
  EXPECT_EQ(ToString(share), "1 core, 1.0 KiB, 0.25 GPU");
  share.gpu_memory_bytes = 20ll << 30;
  EXPECT_EQ(ToString(share), "1 core, 1.0 KiB, 0.25 GPU with 20.0 GiB");
  share.gpu_millis = 0;
  EXPECT_EQ(ToString(share), "1 core, 1.0 KiB, 20.0 GiB of a GPU");
  EXPECT_EQ(FormatGpus(1'750), "1.75 GPUs");
  EXPECT_EQ(FormatGpus(5), "0.005 GPU");
}

// ---- GPUs

constexpr int64_t kGpuGiB = int64_t{1} << 30;

Resources Gpus(int64_t count, int64_t gib) { return Resources{}.WithGpus(count, gib * kGpuGiB); }
Resources Share(int64_t millis, int64_t memory_bytes = 0) {
  Resources request{0, 0, millis};
  request.gpu_memory_bytes = memory_bytes;
  return request;
}

TEST(Gpus, AShareBringsTheSameShareOfTheMemoryUnlessItNamesSome) {
  const Resources all = Gpus(1, 80);
  Resources free = all;
  Resources held = Placed(free, all, Share(250));
  EXPECT_EQ(*held.gpus, (std::vector<GpuPart>{{0, 250, 20 * kGpuGiB}}));
  free -= held;
  held = Placed(free, all, Share(250, 50 * kGpuGiB));
  EXPECT_EQ(*held.gpus, (std::vector<GpuPart>{{0, 250, 50 * kGpuGiB}}));
  free -= held;
  EXPECT_FALSE(HasRoom(free, all, Share(500))) << "10 GiB are left, and it brings 40";
  EXPECT_TRUE(HasRoom(free, all, Share(500, 10 * kGpuGiB)));
  EXPECT_TRUE(HasRoom(free, all, Share(0, 10 * kGpuGiB))) << "memory alone";
  EXPECT_FALSE(HasRoom(free, all, Share(0, 10 * kGpuGiB + 1)));
  free -= Placed(free, all, Share(500, kGpuGiB));
  EXPECT_FALSE(HasRoom(free, all, Share(0, 1))) << "all of its shares are given";
}

TEST(Gpus, AShareLiesOnOneGpu) {
  const Resources all = Gpus(2, 8);
  Resources free = all;
  for (int i = 0; i < 2; ++i) {  // half of each, from two
    Resources held = Share(500);
    held.gpus = std::vector<GpuPart>{{i, 500, 4 * kGpuGiB}};
    free -= held;
  }
  EXPECT_EQ(free.gpu_millis, 1000);
  EXPECT_TRUE(HasRoom(free, all, Share(500)));
  EXPECT_FALSE(HasRoom(free, all, Share(501, 1)));
  EXPECT_FALSE(HasRoom(free, all, Share(kWholeGpu))) << "nobody else's";
  EXPECT_EQ(*Placed(free, all, Share(501, 1)).gpus, std::vector<GpuPart>());
}

TEST(Gpus, SharesPackSoThatWholeOnesStayFree) {
  const Resources all = Gpus(3, 8);
  Resources free = all;
  auto place = [&](const Resources& request) {
    Resources held = Placed(free, all, request);
    free -= held;
    return held.gpus->at(0).index;
  };
  EXPECT_TRUE(OpensGpu(free, all, Share(400)));
  EXPECT_EQ(place(Share(400)), 0);
  EXPECT_FALSE(OpensGpu(free, all, Share(400)));
  EXPECT_EQ(place(Share(400)), 0);
  EXPECT_EQ(place(Share(700)), 1);
  EXPECT_EQ(place(Share(200)), 0) << "which it fills; on the other it would leave some";
  EXPECT_TRUE(HasRoom(free, all, Share(kWholeGpu)));
  EXPECT_EQ(place(Share(kWholeGpu)), 2);
  EXPECT_FALSE(HasRoom(free, all, Share(kWholeGpu)));
}

TEST(Gpus, WholeOnesAreThoseWithTheLeastMemoryThatDo) {
  Resources all;
  for (int64_t gib : {80, 24, 40}) all.AddGpus(1, gib * kGpuGiB);
  EXPECT_EQ(Placed(all, all, Share(kWholeGpu)).gpus->at(0).index, 1);
  EXPECT_EQ(Placed(all, all, Share(kWholeGpu, 30 * kGpuGiB)).gpus->at(0).index, 2);
  const Resources two = Placed(all, all, Share(2 * kWholeGpu));
  EXPECT_EQ(*two.gpus, (std::vector<GpuPart>{{1, 1000, 24 * kGpuGiB}, {2, 1000, 40 * kGpuGiB}}));
  EXPECT_TRUE(HasRoom(all, all, Share(2 * kWholeGpu, 40 * kGpuGiB)));
  EXPECT_FALSE(HasRoom(all, all, Share(2 * kWholeGpu, 41 * kGpuGiB)));
  EXPECT_FALSE(HasRoom(all, all, Share(1500))) << "not what anybody may ask for";
}

TEST(Gpus, AreNeverOversoldWhateverComesAndGoes) {
  uint64_t state = 7;
  auto draw = [&state](int64_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<int64_t>(state >> 33) % below;
  };
  for (int round = 0; round < 200; ++round) {
    Resources all;
    for (int64_t i = draw(4); i >= 0; --i) all.AddGpus(1, draw(3) * 8 * kGpuGiB);
    Resources free = all;
    std::vector<Resources> holders;
    for (int step = 0; step < 200; ++step) {
      if (!holders.empty() && draw(3) == 0) {
        auto gone = holders.begin() + draw(std::ssize(holders));
        free += *gone;
        holders.erase(gone);
      } else {
        Resources request = Share(draw(4) == 0 ? kWholeGpu * (1 + draw(2)) : draw(kWholeGpu),
                                  draw(2) * draw(9) * kGpuGiB);
        const bool room = HasRoom(free, all, request);
        ASSERT_EQ(room && request.AsksForGpu(), free.Holds(request) && request.AsksForGpu() &&
                                                    TimesOnGpus(free, all, request) > 0);
        if (!room) continue;
        const Resources held = Placed(free, all, request);
        ASSERT_TRUE(free.Holds(held));
        if (request.gpu_millis < kWholeGpu && request.AsksForGpu()) {
          ASSERT_EQ(held.gpus->size(), 1u) << "on one GPU";
        }
        holders.push_back(held);
        free -= held;
      }
      ASSERT_FALSE(free.IsNegative());
      for (const GpuPart& whole : *all.gpus) {
        int64_t millis = 0, memory = 0, on_it = 0, whole_holders = 0;
        for (const Resources& held : holders) {
          for (const GpuPart& part : *held.gpus) {
            if (part.index != whole.index) continue;
            millis += part.millis;
            memory += part.memory_bytes;
            ++on_it;
            if (part.millis == kWholeGpu) ++whole_holders;
          }
        }
        ASSERT_LE(millis, kWholeGpu);
        ASSERT_LE(memory, whole.memory_bytes);
        if (whole_holders > 0) {
          ASSERT_EQ(on_it, 1) << "nobody shares it";
        }
      }
    }
    for (const Resources& held : holders) free += held;
    EXPECT_EQ(*free.gpus, *all.gpus);
    EXPECT_EQ(free.gpu_millis, all.gpu_millis);
  }
}

TEST(File, AtomicWriteReplacesWholeContent) {
  TemporaryFolder folder;
  std::string path = folder / "file";
  for (const char* content : {"one", "two"}) {
    Status written = WriteFileAtomically(path, content);
    ASSERT_TRUE(written.ok()) << written;
  }
  EXPECT_EQ(ReadFile(path).value(), "two");
  EXPECT_EQ(ReadFile(path + ".absent").status().code(), Code::kNotFound);
  EXPECT_EQ(ReadFile(path, 2).status().code(), Code::kResourceExhausted);
}

TEST(Text, OfOthersCannotDriveTheTerminal) {
  EXPECT_EQ(Printable("a\x1b[2Jb\r\nc\x07"), "a?[2Jb  c?");
  EXPECT_EQ(Printable("\xC2\x9B"
                      "31m"),
            "?31m");
  EXPECT_EQ(Printable("Größe"), "Größe");
}

TEST(Logging, TextOfOthersForgesNoLineAndDrivesNoTerminal) {
  ASSERT_TRUE(SetUpLogging("program", "info").ok());
  testing::internal::CaptureStderr();
  spdlog::info("stopping: {}", "a\n2026-01-01T00:00:00.000 error node: forged\x1b[2J");
  std::string text = testing::internal::GetCapturedStderr();
  EXPECT_EQ(text.find('\n'), text.size() - 1) << text;
  EXPECT_NE(text.find("program: stopping: a 2026-01-01T00:00:00.000 error node: forged?[2J"),
            std::string::npos)
      << text;
}

}  // namespace
}  // namespace cyxwiz
