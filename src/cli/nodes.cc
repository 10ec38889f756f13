#include "cli/nodes.h"

#include <map>
#include <utility>

#include "base/clock.h"
#include "base/labels.h"
#include "base/resources.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/layout.h"
#include "wire/json.h"

namespace cyxwiz::cli {
namespace {

// "1.5"
std::string Cores(int64_t millis) {
  std::string cores = std::to_string(millis / 1000);
  if (int64_t tenths = millis % 1000 / 100; tenths > 0) cores += "." + std::to_string(tenths);
  return cores;
}

std::string Endpoint(const protocol::NodeInfo& node) {
  return node.endpoint().empty() ? node.ip_address() + ":" + std::to_string(node.port())
                                 : node.endpoint();
}

// One word, and the colour it is painted in.
std::pair<std::string, const char*> StateOf(const protocol::NodeInfo& node) {
  if (!node.is_online()) return {"offline", "31"};
  if (node.draining()) return {"draining", "33"};
  if (node.cordoned()) return {"cordoned", "33"};
  if (node.quarantined()) return {"quarantined", "31"};
  return {"online", "32"};
}

std::string LabelsOf(const protocol::NodeInfo& node) {
  std::string text;
  for (const auto& [name, value] :
       std::map<std::string, std::string>(node.labels().begin(), node.labels().end())) {
    text += (text.empty() ? "" : ",") + name + "=" + value;
  }
  return text;
}

// "1.75", of what is free or of what there is.
std::string Gpus(const protocol::ResourceRequest& amount) {
  return FormatMillis(amount.gpus() * kWholeGpu + amount.gpu_share_millis());
}

// One row a GPU: what is free of its share and its memory.
void PrintGpus(const protocol::ListNodesResponse& list, const Console& console) {
  Table table({{"NODE"},
               {"GPU", true},
               {"MODEL", false, true},
               {"FREE", true},
               {"MEMORY", true},
               {"UUID"}});
  bool any = false;
  for (const protocol::NodeInfo& node : list.nodes()) {
    for (const protocol::DeviceCaps& device : node.devices()) {
      if (device.device_type() == protocol::DEVICE_CPU ||
          device.device_type() == protocol::DEVICE_UNKNOWN)
        continue;
      any = true;
      const bool online = node.is_online();
      table.Add({{node.node_id()},
                 {std::to_string(device.gpu_index())},
                 {device.device_name()},
                 {online ? FormatMillis(device.free_share_millis()) : "-"},
                 {(online ? FormatBytes(device.free_memory_bytes()) : "-") + "/" +
                  FormatBytes(device.memory_total())},
                 {device.uuid().empty() ? "-" : device.uuid()}});
    }
  }
  if (any) {
    console.out << table.ToString(console.width, console.unicode, console.colour) << std::flush;
  } else {
    console.err << "No node gives a GPU to jobs.\n";
  }
}

int Forget(Console& console, Client* client, const std::string& node) {
  protocol::ForgetNodeRequest request;
  request.set_node_id(node);
  auto response = client->Call(client->node_control(),
                               &protocol::NodeControlService::StubInterface::ForgetNode, request);
  if (!response.ok()) return console.Fail(response.status());
  if (console.json) {
    console.PrintJson(wire::ToJson(*response));
  } else {
    console.out << "Forgot node " << Printable(node) << std::endl;
  }
  return kExitOk;
}

bool IsIn(const std::string& pool, const protocol::NodeInfo& node) {
  auto label = node.labels().find(kPoolLabel);
  return label != node.labels().end() && label->second == pool;
}

}  // namespace

Result<protocol::ListNodesResponse> AllNodes(Client* client, bool online_only,
                                             const std::string& pool) {
  protocol::ListNodesRequest request;
  request.set_page_size(1000);
  request.set_online_only(online_only);
  protocol::ListNodesResponse list;
  do {
    auto page = client->Call(client->discovery(),
                             &protocol::NodeDiscoveryService::StubInterface::ListNodes, request);
    if (!page.ok()) return page.status();
    request.set_page_token(page->next_page_token());
    for (protocol::NodeInfo& node : *page->mutable_nodes()) {
      if (pool.empty() || IsIn(pool, node)) *list.add_nodes() = std::move(node);
    }
  } while (!request.page_token().empty());
  return list;
}

int RunNodes(const Session& session, const NodesOptions& options) {
  Console& console = session.console;
  auto client = Client::Connect(session.server);
  if (!client.ok()) return console.Fail(client.status());
  if (!options.forget.empty()) return Forget(console, client->get(), options.forget);
  auto all = AllNodes(client->get(), options.online_only, options.pool);
  if (!all.ok()) return console.Fail(all.status());
  const protocol::ListNodesResponse& list = *all;
  if (console.json) {
    console.PrintJson(wire::ToJson(list));
    return kExitOk;
  }
  if (list.nodes().empty()) {
    console.err << (options.pool.empty()
                        ? "No node has registered yet: jobs wait until one does.\n"
                        : "No node is in the pool '" + Printable(options.pool) + "'.\n");
    return kExitOk;
  }
  if (options.gpus) {
    PrintGpus(list, console);
    return kExitOk;
  }
  Table table({{"ID"},
               {"NAME", false, true},
               {"ENDPOINT"},
               {"STATE"},
               {"CPUS", true},
               {"MEMORY", true},
               {"GPUS", true},
               {"JOBS", true},
               {"LABELS", false, true}});
  std::string notes;
  for (const protocol::NodeInfo& node : list.nodes()) {
    bool online = node.is_online();
    auto [state, colour] = StateOf(node);
    const protocol::ResourceRequest& capacity = node.capacity();
    const protocol::ResourceRequest& free = node.available();
    // What is free of a node that does not answer is not known.
    auto of = [&](const std::string& part, const std::string& whole) {
      return (online ? part : "-") + "/" + whole;
    };
    table.Add({{node.node_id()},
               {node.name()},
               {Endpoint(node)},
               {state, colour},
               {of(Cores(free.cpu_millis()), Cores(capacity.cpu_millis()))},
               {of(FormatBytes(free.memory_bytes()), FormatBytes(capacity.memory_bytes()))},
               {capacity.gpus() == 0 ? "-" : of(Gpus(free), Gpus(capacity))},
               {std::to_string(node.attempts_size())},
               {LabelsOf(node)}});
    std::string why = node.quarantined() ? node.quarantine_reason() : node.cordon_reason();
    if (node.cordon_from() > 0) {
      notes += node.node_id() + " will be cordoned in " +
               FormatAge(node.cordon_from() - ReadClocks().unix.seconds()) +
               (why.empty() ? "" : ": " + Printable(why)) + "\n";
    } else if (!why.empty()) {
      notes += node.node_id() + " is " + state + ": " + Printable(why) + "\n";
    }
  }
  console.out << table.ToString(console.width, console.unicode, console.colour) << std::flush;
  console.err << notes;
  if (console.out_is_terminal) console.err << "CPUS, MEMORY and GPUS are free/total.\n";
  return kExitOk;
}

}  // namespace cyxwiz::cli
