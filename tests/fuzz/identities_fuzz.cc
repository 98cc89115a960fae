#include "server/security/identity.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/targets.h"

void kvpareto::fuzz::Identities(std::string_view input) {
  CheckRefusal(
      server::security::ParseIdentities(std::string(input), "identities.yaml", {"default", "gold"})
          .status());
}
