#include "server/config.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/targets.h"

void kvpareto::fuzz::ServerConfig(std::string_view input) {
  CheckRefusal(server::ParseServerConfig(std::string(input), "server.yaml", "/etc/kv").status());
}
