// Tensor names of Hugging Face checkpoints and of this engine (model_source.h).
#pragma once

#include <string>
#include <string_view>

namespace kvpareto {

// "model.layers.3.self_attn.q_proj.weight" -> "blk.3.attn_q.weight", with any last part. A name
// that is not known stays as it is.
std::string CanonicalName(std::string_view hf_name);

// The other way round.
std::string HfName(std::string_view canonical_name);

}  // namespace kvpareto
