// Reading one metadata value of a GGUF file.
#pragma once

#include "engine/model/byte_reader.h"
#include "engine/model/gguf.h"

namespace kvpareto {

absl::StatusOr<GgufValue> ReadGgufValue(ByteReader& reader);

}  // namespace kvpareto
