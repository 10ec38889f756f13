#include "central/node_channels.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

namespace cyxwiz::central {

std::shared_ptr<grpc::Channel> NodeChannels::Get(const std::string& endpoint) {
  std::lock_guard lock(mutex_);
  std::shared_ptr<grpc::Channel>& channel = channels_[endpoint];
  if (channel == nullptr) {
    grpc::ChannelArguments arguments;
    // A node that restarted is found again at once; the default waits up to two minutes.
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
    // Notices a node that vanished without closing its connection while a log is being read.
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    channel = grpc::CreateCustomChannel(endpoint, grpc::InsecureChannelCredentials(), arguments);
  }
  return channel;
}

void NodeChannels::Remove(const std::string& endpoint) {
  std::shared_ptr<grpc::Channel> last;  // ends outside of the lock
  std::lock_guard lock(mutex_);
  auto found = channels_.find(endpoint);
  if (found == channels_.end()) return;
  last = std::move(found->second);
  channels_.erase(found);
}

size_t NodeChannels::size() const {
  std::lock_guard lock(mutex_);
  return channels_.size();
}

void NodeChannels::Connect(const std::string& endpoint) {
  std::shared_ptr<grpc::Channel> channel = Get(endpoint);
  grpc::experimental::ChannelResetConnectionBackoff(channel.get());
  channel->GetState(/*try_to_connect=*/true);
}

}  // namespace cyxwiz::central
