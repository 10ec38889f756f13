// The calls of gRPC services that are answered by a method of the Api.
#pragma once

#include <grpcpp/grpcpp.h>

#include "central/api.h"
#include "central/convert.h"

namespace cyxwiz::central {

template <typename Request, typename Response>
grpc::ServerUnaryReactor* Call(Api* api, grpc::CallbackServerContext* context,
                               void (Api::*method)(const Request&, Done<Response>),
                               const Request* request, Response* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  (api->*method)(*request, [reactor, response](Status status, Response answer) {
    response->Swap(&answer);
    reactor->Finish(ToGrpc(status));
  });
  return reactor;
}

}  // namespace cyxwiz::central
