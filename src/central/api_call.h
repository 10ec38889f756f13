// The calls of gRPC services that are answered by a method of the Api.
#pragma once

#include <grpcpp/grpcpp.h>

#include "central/api.h"
#include "central/convert.h"

namespace cyxwiz::central {

// "ipv4:127.0.0.1:4711" and "ipv6:%5B::1%5D:4711" without what is not the address.
inline std::string AddressOf(std::string peer) {
  const size_t kind = peer.find(':'), port = peer.rfind(':');
  if (kind == std::string::npos || kind == port) return "";
  peer = peer.substr(kind + 1, port - kind - 1);
  if (peer.starts_with("%5B") && peer.ends_with("%5D")) peer = peer.substr(3, peer.size() - 6);
  return peer;
}

// With the metadata "cyxwiz-user".
inline std::string ClientActorOf(const grpc::CallbackServerContext& context) {
  auto user = context.client_metadata().find("cyxwiz-user");
  const bool told = user != context.client_metadata().end();
  return ClientActor(told ? std::string_view(user->second.data(), user->second.size()) : "",
                     AddressOf(context.peer()));
}

template <typename Request, typename Response>
grpc::ServerUnaryReactor* Call(Api* api, grpc::CallbackServerContext* context,
                               void (Api::*method)(const Request&, const std::string& actor,
                                                   Done<Response>),
                               const Request* request, Response* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  (api->*method)(*request, ClientActorOf(*context),
                 [reactor, response](Status status, Response answer) {
                   response->Swap(&answer);
                   reactor->Finish(ToGrpc(status));
                 });
  return reactor;
}

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
