#include "central/store_fetch.h"

#include <fcntl.h>
#include <grpcpp/grpcpp.h>

#include <cerrno>
#include <chrono>

#include "base/file.h"
#include "central/convert.h"
#include "cyxwiz/protocol/control.grpc.pb.h"

namespace cyxwiz::central {
namespace {

constexpr auto kConnectTimeout = std::chrono::seconds(3);
constexpr int kSilenceMs = 60'000;

}  // namespace

Status FetchBackup(const std::string& server, const std::string& path) {
  grpc::ChannelArguments arguments;
  // A proxy of the environment is for the web.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // Notices a server that vanished without a word.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kSilenceMs / 2);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kSilenceMs / 2);
  auto channel = grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + kConnectTimeout)) {
    return Unavailable("no CyxWiz server answers at " + server,
                       "name its gRPC address with --server HOST:PORT, or, when it is stopped, its "
                       "data folder with --data");
  }
  UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file) return ErrnoStatus("cannot create '" + path + "'", errno);

  auto stub = protocol::AdminService::NewStub(channel);
  grpc::ClientContext context;
  auto reader = stub->BackUp(&context, protocol::BackUpRequest());
  protocol::BackUpChunk chunk;
  int64_t received = 0, total = -1;
  Status written;
  while (written.ok() && reader->Read(&chunk)) {
    total = chunk.total_size();
    if (chunk.offset() != received) {
      written = DataLoss("the backup has a gap: expected byte " + std::to_string(received) +
                         ", found " + std::to_string(chunk.offset()));
    } else {
      written = WriteAll(file.get(), chunk.data());
      if (!written.ok()) written = Status(written.code(), "'" + path + "': " + written.message());
    }
    received += static_cast<int64_t>(chunk.data().size());
  }
  if (!written.ok()) context.TryCancel();
  grpc::Status ended = reader->Finish();
  RETURN_IF_ERROR(written);
  if (!ended.ok()) {
    Status status = FromGrpc(ended);
    return Status(status.code(),
                  "the server at " + server + " made no backup: " + status.message());
  }
  if (received != total) {
    return DataLoss("the backup is incomplete: expected " + std::to_string(total) +
                    " bytes, found " + std::to_string(received));
  }
  return OkStatus();
}

}  // namespace cyxwiz::central
