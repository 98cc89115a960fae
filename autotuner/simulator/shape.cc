#include "autotuner/simulator/shape.h"

#include <array>
#include <charconv>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace kvpareto::sim {
namespace {

struct NamedShape {
  std::string_view name;
  std::string_view text;
};

// From the models' published configurations.
constexpr std::array kShapes = {
    NamedShape{"llama-3.1-8b",
               "layers=32 hidden=4096 ffn=14336 heads=32 kv_heads=8 head_dim=128 vocab=128256 "
               "context=131072"},
    NamedShape{"llama-3.2-1b",
               "layers=16 hidden=2048 ffn=8192 heads=32 kv_heads=8 head_dim=64 vocab=128256 "
               "context=131072"},
    NamedShape{"qwen2.5-7b",
               "layers=28 hidden=3584 ffn=18944 heads=28 kv_heads=4 head_dim=128 vocab=152064 "
               "context=131072"},
    NamedShape{"smollm2-135m",
               "layers=30 hidden=576 ffn=1536 heads=9 kv_heads=3 head_dim=64 vocab=49152 "
               "context=8192"},
};

absl::Status Invalid(const std::string& message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "SHAPE_INVALID", message);
}

std::string Names() {
  std::string names;
  for (const NamedShape& shape : kShapes)
    absl::StrAppend(&names, names.empty() ? "" : ", ",
                    absl::string_view(shape.name.data(), shape.name.size()));
  return names;
}

absl::Status SetWord(absl::string_view word, ModelConfig& model) {
  const std::pair<absl::string_view, int*> fields[] = {
      {"layers", &model.layers}, {"hidden", &model.hidden},         {"ffn", &model.ffn},
      {"heads", &model.heads},   {"kv_heads", &model.kv_heads},     {"head_dim", &model.head_dim},
      {"vocab", &model.vocab},   {"context", &model.context_tokens}};
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(word, absl::MaxSplits('=', 1));
  for (const auto& [name, value] : fields) {
    if (name != parts.first) continue;
    const char* end = parts.second.data() + parts.second.size();
    const auto [rest, error] = std::from_chars(parts.second.data(), end, *value);
    if (error == std::errc() && rest == end && *value > 0) return absl::OkStatus();
    return Invalid(absl::StrCat("'", word, "' has no positive number"));
  }
  return Invalid(absl::StrCat(
      "'", word, "' is neither a shape (", Names(),
      ") nor one of layers=, hidden=, ffn=, heads=, kv_heads=, head_dim=, vocab=, context="));
}

}  // namespace

absl::StatusOr<ModelConfig> ParseShape(std::string_view text) {
  ModelConfig model;
  model.name = std::string(text);
  for (const NamedShape& shape : kShapes) {
    if (shape.name == text) text = shape.text;
  }
  for (const absl::string_view word :
       absl::StrSplit(absl::string_view(text.data(), text.size()), ' ', absl::SkipWhitespace())) {
    KVP_RETURN_IF_ERROR(SetWord(word, model));
  }
  if (model.head_dim > 0) model.inverse_frequency.assign(model.head_dim / 2, 1.0f);
  if (const absl::Status status = model.Validate(); !status.ok()) {
    return Invalid(std::string(status.message()));
  }
  return model;
}

int64_t WeightElements(const ModelConfig& model) {
  const int64_t q = int64_t{model.heads} * model.head_dim;
  const int64_t kv = int64_t{model.kv_heads} * model.head_dim;
  const int64_t attention = model.hidden * (2 * q + 2 * kv);
  const int64_t ffn = int64_t{3} * model.hidden * model.ffn;
  return model.layers * (attention + ffn) + int64_t{2} * model.vocab * model.hidden;
}

}  // namespace kvpareto::sim
