#include "engine/policy/kv_config.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>

#include "engine/kv/codec.h"

namespace kvpareto {
namespace {

constexpr int kMaxSinkTokens = 1024;
constexpr int kMaxRecentTokens = 65536;
constexpr int kMaxChunkTokens = 4096;
constexpr float kMinClip = 0.3f;
constexpr int kMaxLayers = 4096;  // no model comes near; bounds what a request can make us store
constexpr size_t kMaxText = 64 << 10;  // likewise

absl::Status Invalid(const std::string& message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "KV_CONFIG_INVALID",
                   "KV config: " + message);
}

// What came in, short and printable, for messages.
std::string Quoted(std::string_view text) {
  std::string quoted = "'";
  for (char c : text.substr(0, 64)) quoted += c >= 0x20 && c < 0x7f ? c : '?';
  return quoted + (text.size() > 64 ? "...'" : "'");
}

std::vector<std::string_view> Split(std::string_view text, std::string_view separators) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find_first_of(separators, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::string CodecNames() {
  std::string names;
  for (int i = 0; i < kv::NumCodecs(); ++i) {
    if (i > 0) names += ", ";
    names += kv::GetCodecInfo(kv::CodecId(i)).name;
  }
  return names;
}

absl::StatusOr<kv::CodecId> ParseCodec(std::string_view name) {
  if (const auto codec = kv::FindCodec(name)) return *codec;
  return Invalid("no codec is called " + Quoted(name) + "; there are " + CodecNames());
}

absl::StatusOr<int> ParseInt(std::string_view key, std::string_view text, int min, int max) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < min || value > max) {
    return Invalid(std::string(key) + " is " + Quoted(text) + ", allowed are " +
                   std::to_string(min) + ".." + std::to_string(max));
  }
  return value;
}

// "0:bf16/bf16,29:int8-token/int4-token"
absl::Status ParseLayers(std::string_view text, std::map<int, kv::LayerCodecs>& overrides) {
  for (std::string_view item : Split(text, ",")) {
    const size_t colon = item.find(':');
    const size_t slash = item.find('/');
    if (colon == item.npos || slash == item.npos || slash < colon) {
      return Invalid("layers has " + Quoted(item) + ", expected LAYER:K_CODEC/V_CODEC");
    }
    KVP_ASSIGN_OR_RETURN(const int layer,
                         ParseInt("a layer", item.substr(0, colon), 0, kMaxLayers - 1));
    kv::LayerCodecs codecs;
    KVP_ASSIGN_OR_RETURN(codecs.k, ParseCodec(item.substr(colon + 1, slash - colon - 1)));
    KVP_ASSIGN_OR_RETURN(codecs.v, ParseCodec(item.substr(slash + 1)));
    if (!overrides.emplace(layer, codecs).second) {
      return Invalid("layers names layer " + std::to_string(layer) + " twice");
    }
  }
  return absl::OkStatus();
}

// One of two words: `off`, or `on`.
absl::StatusOr<bool> ParseSwitch(std::string_view key, std::string_view text, std::string_view off,
                                 std::string_view on) {
  if (text == off || text == on) return text == on;
  return Invalid(std::string(key) + " is " + Quoted(text) + ", allowed are " + std::string(off) +
                 " and " + std::string(on));
}

absl::StatusOr<kv::Rotation> ParseRotation(std::string_view key, std::string_view text) {
  if (const auto rotation = kv::FindRotation(text)) return *rotation;
  return Invalid(std::string(key) + " is " + Quoted(text) +
                 ", allowed are none, hadamard, oscar and balanced");
}

absl::StatusOr<kv::Clip> ParseClip(std::string_view key, std::string_view text) {
  kv::Clip clip{.calibrated = text == "auto"};
  if (clip.calibrated) return clip;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), clip.ratio);
  if (error != std::errc() || end != text.data() + text.size() || !(clip.ratio >= kMinClip) ||
      clip.ratio > 1.0f) {
    return Invalid(std::string(key) + " is " + Quoted(text) + ", allowed are auto and 0.3..1");
  }
  return clip;
}

absl::Status ParseTransform(std::string_view key, std::string_view value,
                            kv::Transforms& transforms) {
  if (key == "krot") {
    KVP_ASSIGN_OR_RETURN(transforms.k_rotation, ParseRotation(key, value));
  } else if (key == "vrot") {
    KVP_ASSIGN_OR_RETURN(transforms.v_rotation, ParseRotation(key, value));
  } else if (key == "kcenter") {
    KVP_ASSIGN_OR_RETURN(transforms.k_center, ParseSwitch(key, value, "none", "static"));
  } else if (key == "vcenter") {
    KVP_ASSIGN_OR_RETURN(transforms.v_center, ParseSwitch(key, value, "none", "static"));
  } else if (key == "kbias") {
    KVP_ASSIGN_OR_RETURN(transforms.remove_key_bias, ParseSwitch(key, value, "keep", "remove"));
  } else if (key == "kclip") {
    KVP_ASSIGN_OR_RETURN(transforms.k_clip, ParseClip(key, value));
  } else if (key == "vclip") {
    KVP_ASSIGN_OR_RETURN(transforms.v_clip, ParseClip(key, value));
  } else {
    return Invalid("unknown word " + Quoted(key) +
                   "; there are k, v, sink, recent, chunk, krot, vrot, kcenter, vcenter, kbias, "
                   "kclip, vclip, layers");
  }
  return absl::OkStatus();
}

absl::Status ParseWord(std::string_view key, std::string_view value, KvConfig& config) {
  if (key == "k") {
    KVP_ASSIGN_OR_RETURN(config.codecs.k, ParseCodec(value));
  } else if (key == "v") {
    KVP_ASSIGN_OR_RETURN(config.codecs.v, ParseCodec(value));
  } else if (key == "sink") {
    KVP_ASSIGN_OR_RETURN(config.sink_tokens, ParseInt(key, value, 0, kMaxSinkTokens));
  } else if (key == "recent") {
    KVP_ASSIGN_OR_RETURN(config.recent_tokens, ParseInt(key, value, 0, kMaxRecentTokens));
  } else if (key == "chunk") {
    KVP_ASSIGN_OR_RETURN(config.prefill_chunk_tokens,
                         ParseInt(key, value, kv::kBlockTokens, kMaxChunkTokens));
    if (config.prefill_chunk_tokens % kv::kBlockTokens != 0) {
      return Invalid("chunk is " + Quoted(value) + ", not a multiple of " +
                     std::to_string(kv::kBlockTokens));
    }
  } else if (key == "layers") {
    return ParseLayers(value, config.layer_overrides);
  } else {
    return ParseTransform(key, value, config.transforms);
  }
  return absl::OkStatus();
}

std::string ClipText(const kv::Clip& clip) {
  if (clip.calibrated) return "auto";
  char text[32];
  const auto [end, error] = std::to_chars(text, text + sizeof text, clip.ratio);
  return std::string(text, end);
}

std::string TransformText(const kv::Transforms& transforms) {
  std::string text;
  const auto add = [&](std::string_view key, std::string_view value) {
    text += " " + std::string(key) + "=" + std::string(value);
  };
  const kv::Transforms none;
  if (transforms.k_rotation != none.k_rotation) {
    add("krot", kv::RotationName(transforms.k_rotation));
  }
  if (transforms.v_rotation != none.v_rotation) {
    add("vrot", kv::RotationName(transforms.v_rotation));
  }
  if (transforms.k_center) add("kcenter", "static");
  if (transforms.v_center) add("vcenter", "static");
  if (transforms.remove_key_bias) add("kbias", "remove");
  if (transforms.k_clip != none.k_clip) add("kclip", ClipText(transforms.k_clip));
  if (transforms.v_clip != none.v_clip) add("vclip", ClipText(transforms.v_clip));
  return text;
}

std::string Text(const KvConfig& config, bool with_chunk) {
  const auto name = [](kv::CodecId codec) { return std::string(kv::GetCodecInfo(codec).name); };
  std::string text = "k=" + name(config.codecs.k) + " v=" + name(config.codecs.v) +
                     " sink=" + std::to_string(config.sink_tokens) +
                     " recent=" + std::to_string(config.recent_tokens);
  if (with_chunk) text += " chunk=" + std::to_string(config.prefill_chunk_tokens);
  text += TransformText(config.transforms);
  const char* separator = " layers=";
  for (const auto& [layer, codecs] : config.layer_overrides) {
    text += separator + std::to_string(layer) + ":" + name(codecs.k) + "/" + name(codecs.v);
    separator = ",";
  }
  return text;
}

}  // namespace

std::string KvConfig::ToString() const { return Text(*this, /*with_chunk=*/true); }

std::string KvConfig::StorageName() const { return Text(*this, /*with_chunk=*/false); }

absl::StatusOr<KvConfig> KvConfig::Parse(std::string_view text) {
  if (text.size() > kMaxText) return Invalid("longer than 64 KiB");
  KvConfig config;
  std::set<std::string_view> seen;
  for (std::string_view word : Split(text, " \t\r\n")) {
    if (word.empty()) continue;
    const size_t equals = word.find('=');
    if (equals == word.npos) return Invalid(Quoted(word) + " is not of the form KEY=VALUE");
    const std::string_view key = word.substr(0, equals);
    if (!seen.insert(key).second) return Invalid(Quoted(key) + " stands there twice");
    KVP_RETURN_IF_ERROR(ParseWord(key, word.substr(equals + 1), config));
  }
  for (const char* key : {"k", "v"}) {
    if (!seen.contains(key)) {
      return Invalid(std::string(key) + "=CODEC is missing; codecs are " + CodecNames());
    }
  }
  return config;
}

KvConfig KvConfig::Bf16(int prefill_chunk_tokens) {
  KvConfig config;
  config.sink_tokens = 0;  // a window means nothing where all is bf16
  config.prefill_chunk_tokens = prefill_chunk_tokens;
  return config;
}

KvConfig KvConfig::F32(int prefill_chunk_tokens) {
  KvConfig config = Bf16(prefill_chunk_tokens);
  const kv::CodecId f32 = *kv::FindCodec("f32");
  config.codecs = {.k = f32, .v = f32};
  return config;
}

absl::Status KvConfig::ValidateFor(const ModelConfig& model) const {
  const auto check = [&](kv::CodecId codec) -> absl::Status {
    if (kv::CodecSupports(codec, model.head_dim)) return absl::OkStatus();
    return Invalid(std::string(kv::GetCodecInfo(codec).name) + " cannot store heads of " +
                   std::to_string(model.head_dim) + " channels (" + model.name + ")");
  };
  for (const auto& [layer, unused] : layer_overrides) {
    if (layer < 0 || layer >= model.layers) {
      return Invalid("layers names layer " + std::to_string(layer) + "; the model has 0.." +
                     std::to_string(model.layers - 1));
    }
  }
  KVP_RETURN_IF_ERROR(check(codecs.k));
  KVP_RETURN_IF_ERROR(check(codecs.v));
  for (const auto& [unused, layer] : layer_overrides) {
    KVP_RETURN_IF_ERROR(check(layer.k));
    KVP_RETURN_IF_ERROR(check(layer.v));
  }
  return absl::OkStatus();
}

namespace {

template <typename Predicate>
bool AnyCodec(const KvConfig& config, Predicate predicate) {
  const auto either = [&](const kv::LayerCodecs& c) { return predicate(c.k) || predicate(c.v); };
  return either(config.codecs) ||
         std::any_of(config.layer_overrides.begin(), config.layer_overrides.end(),
                     [&](const auto& entry) { return either(entry.second); });
}

}  // namespace

bool KvConfig::needs_calibration() const {
  return transforms.needs_calibration() ||
         AnyCodec(*this, [](auto codec) { return kv::GetCodecInfo(codec).needs_static_range; });
}

bool KvConfig::needs_transforms() const {
  return needs_calibration() || transforms != kv::Transforms{};
}

bool KvConfig::is_bf16() const {
  return !AnyCodec(*this, [](auto codec) { return codec != kv::CodecId::kBf16; });
}

bool KvConfig::is_exact() const {
  return !AnyCodec(*this, [](auto codec) { return kv::GetCodecInfo(codec).name != "f32"; });
}

kv::CodecId KvConfig::open_codec() const { return is_exact() ? codecs.k : kv::CodecId::kBf16; }

std::vector<kv::LayerCodecs> KvConfig::PerLayer(int layers) const {
  std::vector<kv::LayerCodecs> per_layer(layers, codecs);
  for (const auto& [layer, override_codecs] : layer_overrides) {
    if (layer < layers) per_layer[layer] = override_codecs;
  }
  return per_layer;
}

}  // namespace kvpareto
