#include <cstdlib>
#include <exception>
#include <iostream>

#include "cli/app.h"

int main(int argc, char** argv) {
  // gRPC's own log lines say nothing to a person that our errors do not.
  ::setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  cyxwiz::cli::Console console(std::cout, std::cerr);
  console.DetectTerminal();
  try {
    return cyxwiz::cli::RunApp({argv + 1, argv + argc}, std::cin, console);
  } catch (const std::exception& e) {
    return console.Fail(cyxwiz::Internal(std::string("unexpected: ") + e.what()));
  }
}
