#include "autotuner/journal.h"
#include "engine/base/check.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/targets.h"

namespace kvpareto::fuzz {

// Whatever is in the file, what is appended to it is there when it is opened again.
void Journal(std::string_view input) {
  const MemoryFile file(input);
  {
    auto journal = tune::Journal::Open(file.path());
    KVP_CHECK(journal.ok()) << journal.status();
    journal->Find("a");
    KVP_CHECK(journal->Append("a", {1.5}, "what").ok());
  }
  const auto again = tune::Journal::Open(file.path());
  KVP_CHECK(again.ok() && again->Find("a") != nullptr && *again->Find("a") == std::vector{1.5});
}

}  // namespace kvpareto::fuzz
