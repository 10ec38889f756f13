// cyxwiz-server-node: the daemon of one machine.
#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "base/logging.h"
#include "node/node.h"
#include "node/settings.h"

namespace {

int Fail(const cyxwiz::Status& status) {
  std::fprintf(stderr, "cyxwiz-server-node: %s\n", status.message().c_str());
  if (!status.hint().empty()) std::fprintf(stderr, "  %s\n", status.hint().c_str());
  return status.code() == cyxwiz::Code::kInvalidArgument ? 2 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace cyxwiz;
  bool done = false;
  Result<node::NodeSettings> settings = node::ReadSettings(argc, argv, &done);
  if (!settings.ok()) return Fail(settings.status());
  if (done) return 0;
  if (Status s = SetUpLogging("node", settings->log_level); !s.ok()) return Fail(s);
  // gRPC's own log lines say nothing to a person that our errors do not.
  ::setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  ::signal(SIGPIPE, SIG_IGN);
  Result<std::unique_ptr<node::Node>> node = node::Node::Create(*settings);
  if (!node.ok()) return Fail(node.status());
  (*node)->Run(/*handle_signals=*/true);
  return 0;
}
