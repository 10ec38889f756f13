#include "base/failpoint.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/file.h"
#include "base/text.h"

namespace cyxwiz {
namespace {

struct Failpoint {
  std::string name, file;
  int64_t pass = 0;
};

// What the variable says; its name is empty when it says nothing.
const Failpoint& Wanted() {
  static const Failpoint wanted = [] {
    Failpoint failpoint;
    const char* variable = std::getenv("CYXWIZ_FAILPOINT");
    if (variable == nullptr || *variable == '\0') return failpoint;
    std::string text = variable;
    size_t colon = text.find(':');
    size_t second = colon == std::string::npos ? colon : text.find(':', colon + 1);
    auto pass = colon == std::string::npos ? std::nullopt
                                           : ParseInt(text.substr(colon + 1, second - colon - 1));
    if (colon == 0 || !pass || *pass < 1) {
      std::fprintf(stderr, "CYXWIZ_FAILPOINT is '%s': expected NAME:N or NAME:N:FILE; ignored\n",
                   variable);
      return failpoint;
    }
    failpoint.name = text.substr(0, colon);
    failpoint.pass = *pass;
    if (second != std::string::npos) failpoint.file = text.substr(second + 1);
    return failpoint;
  }();
  return wanted;
}

}  // namespace

const bool failpoint_armed = !Wanted().name.empty();

void PassFailpoint(const char* name) {
  static std::atomic<int64_t> passes = 0;
  const Failpoint& wanted = Wanted();
  if (wanted.name != name || ++passes != wanted.pass) return;
  if (!wanted.file.empty()) {
    UniqueFd file(::open(wanted.file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!file) return;
  }
  std::fprintf(stderr, "failpoint %s: ending by SIGKILL\n", name);
  ::kill(::getpid(), SIGKILL);
  ::pause();
}

}  // namespace cyxwiz
