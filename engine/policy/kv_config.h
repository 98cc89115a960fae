// The KV config: how precisely one request's cache is kept. A value type with one text form, used
// in tables, YAML, requests that pin a config, and metric labels.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/kv/block_layout.h"
#include "engine/kv/footprint.h"
#include "engine/kv/transform.h"
#include "engine/model/model_config.h"

namespace kvpareto {

// Text form, keys in this order, defaults written out but for empty overrides:
//   "k=int4-channel v=int4-token-g64 sink=16 recent=128 chunk=256
//   krot=balanced vrot=hadamard kcenter=static vcenter=static kbias=remove kclip=0.96 vclip=auto
//   layers=0:bf16/bf16,29:int8-token/int4-token"
// The words of the second line (kv/transform.h) are left out where nothing is done. Parse takes the
// words in any order, each at most once; k and v must be there.
struct KvConfig {
  kv::LayerCodecs codecs;  // of every layer that has no override
  std::map<int, kv::LayerCodecs> layer_overrides;
  kv::Transforms transforms;
  int sink_tokens = 16;            // first tokens, kept bf16; 0..1024
  int recent_tokens = 0;           // newest tokens, kept bf16 (besides the open block); 0..65536
  int prefill_chunk_tokens = 256;  // a multiple of kBlockTokens, 64..4096

  friend bool operator==(const KvConfig&, const KvConfig&) = default;

  std::string ToString() const;
  // The same without the chunk: what metrics and prefix sharing tell apart.
  std::string StorageName() const;
  // Errors: INVALID_ARGUMENT (KV_CONFIG_INVALID) naming the word that is wrong and what is allowed.
  static absl::StatusOr<KvConfig> Parse(std::string_view text);
  // bf16 throughout, the reference.
  static KvConfig Bf16(int prefill_chunk_tokens = 512);
  // f32 throughout: what measurements compare with when bf16 itself is measured.
  static KvConfig F32(int prefill_chunk_tokens = 512);

  // Whether this model can use it: codecs support its head size, overrides name existing layers.
  absl::Status ValidateFor(const ModelConfig& model) const;
  bool needs_calibration() const;  // some codec or transform wants what calibration measured
  // Something is done to keys and values besides plain encoding: transforms, clips, static ranges.
  bool needs_transforms() const;
  bool is_bf16() const;   // every codec is bf16: nothing is ever sealed
  bool is_exact() const;  // every codec is f32: nothing is ever sealed
  // What open blocks, windows and sinks are stored in: bf16, or f32 where all else is.
  kv::CodecId open_codec() const;
  std::vector<kv::LayerCodecs> PerLayer(int layers) const;
};

kv::BlockLayout SealedLayout(const KvConfig& config, const ModelConfig& model);
kv::FootprintParams Footprint(const KvConfig& config, const ModelConfig& model);
// Whether sequences that begin with the same tokens may share what is stored of them, whole prefill
// chunks at a time. Not where the sink is longer than a chunk.
bool SharesPrompts(const KvConfig& config);
// Tokens of a prompt that all continuations of one request share: whole chunks, and one token at
// least is left to compute.
int64_t SharedPromptTokens(const KvConfig& config, int64_t prompt_tokens);
// Stored bits per K/V element of a sequence of `tokens` tokens, every scale, sink and window
// counted.
double EffectiveBits(const KvConfig& config, const ModelConfig& model, int64_t tokens);

// A codec whose tokens can be encoded one at a time.
struct TokenCodec {
  kv::CodecId codec = kv::CodecId::kBf16;
  bool smooth = false;  // keys and values minus the mean of each channel over past tokens
};
// `codec` where nothing is kept in blocks (ScoreOptions::encode_on_write). Error: INVALID_ARGUMENT
// (CODEC_NEEDS_BLOCKS).
absl::StatusOr<TokenCodec> WrittenTokenByToken(kv::CodecId codec);
// As EffectiveBits, of such a cache: it has no open block, its recent window is exact to the token,
// and "...-smooth" codecs store a mean per chunk. Error: of WrittenTokenByToken.
absl::StatusOr<double> EffectiveBitsOnWrite(const KvConfig& config, const ModelConfig& model,
                                            int64_t tokens);

}  // namespace kvpareto
