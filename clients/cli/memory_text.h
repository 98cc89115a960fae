// KV memory as a picture of bars.
#pragma once

#include <string>

#include "kvpareto/v1/memory.pb.h"

namespace kvpareto::cli {

// Per model: how full the arena is, and per class and config the allocated bytes.
std::string DescribeMemory(const v1::MemorySnapshot& memory, bool unicode);

}  // namespace kvpareto::cli
