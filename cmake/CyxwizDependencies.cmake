# Everything that is not ours, found once, here.

find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
find_package(nlohmann_json 3.9 REQUIRED)
include(CyxwizLibtorch)

if(NOT CYXWIZ_ONLY)
  find_package(OpenSSL 3 REQUIRED)
  find_package(Boost 1.81 REQUIRED)
  find_package(Protobuf REQUIRED)
  find_package(gRPC CONFIG REQUIRED)
  find_package(spdlog REQUIRED)
  find_package(fmt REQUIRED)
  find_package(tomlplusplus REQUIRED)
  find_package(SQLiteCpp REQUIRED)
  find_package(SQLite3 REQUIRED)
  find_package(prometheus-cpp CONFIG REQUIRED)
endif()

if(CYXWIZ_TESTS)
  enable_testing()
  find_package(GTest REQUIRED)
endif()
