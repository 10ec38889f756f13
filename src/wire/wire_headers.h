// Precompiled for every target that speaks gRPC: these take some 5 s a unit to read. Names nothing
// of ours that changes often.
#pragma once

#include <grpcpp/grpcpp.h>
#include <spdlog/spdlog.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cyxwiz/protocol/agent.grpc.pb.h"
#include "cyxwiz/protocol/control.grpc.pb.h"
#include "cyxwiz/protocol/deployment.grpc.pb.h"
#include "cyxwiz/protocol/job.grpc.pb.h"
#include "cyxwiz/protocol/log.grpc.pb.h"
#include "cyxwiz/protocol/node.grpc.pb.h"
