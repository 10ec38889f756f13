// What is wrong with a refused job travels in the trailing metadata of the call: gRPC sends no
// message beside an error.
#pragma once

#include <grpcpp/grpcpp.h>

#include "cyxwiz/protocol/job.pb.h"

namespace cyxwiz::central {

// Puts the response into the trailer, cut down to what metadata can carry: as many problems as fit.
void AddRefusal(protocol::SubmitJobResponse response, grpc::CallbackServerContext* context);

}  // namespace cyxwiz::central
