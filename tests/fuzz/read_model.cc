#include "tests/fuzz/read_model.h"

#include "absl/strings/str_cat.h"
#include "engine/model/model_source.h"
#include "engine/ops/dequantize_rows.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"
#include "tests/fuzz/fuzz_input.h"

namespace kvpareto::fuzz {
namespace {

void ReadTensor(const ModelSource& source, const std::string& name) {
  if (!source.Has(name)) return;
  const absl::StatusOr<TensorView> tensor = source.Tensor(name);
  if (tensor.ok()) DequantizeAll(*tensor);
}

void ReadTensors(const ModelSource& source) {
  for (const char* name : {"token_embd.weight", "output_norm.weight", "output.weight"}) {
    ReadTensor(source, name);
  }
  for (int layer = 0; layer < source.config().layers; ++layer) {
    for (const char* part : {"attn_norm.weight", "attn_q.weight", "attn_k.weight", "attn_v.weight",
                             "attn_q.bias", "attn_k.bias", "attn_v.bias", "attn_q_norm.weight",
                             "attn_k_norm.weight", "attn_output.weight", "ffn_norm.weight",
                             "ffn_gate.weight", "ffn_up.weight", "ffn_down.weight"}) {
      ReadTensor(source, absl::StrCat("blk.", layer, ".", part));
    }
  }
}

}  // namespace

void OpenAndRead(const std::string& path) {
  const auto source = OpenModel(path);
  CheckRefusal(source.status());
  if (!source.ok()) return;
  ReadTensors(**source);
  CheckRefusal(ChatTemplate::Parse((*source)->chat_template()).status());
  const auto tokenizer = Tokenizer::Create((*source)->tokenizer());
  CheckRefusal(tokenizer.status());
  if (tokenizer.ok()) CheckRefusal((*tokenizer)->Encode("Hello, w\u00f6rld 42\n", {}).status());
}

}  // namespace kvpareto::fuzz
