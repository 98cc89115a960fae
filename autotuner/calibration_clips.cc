#include "autotuner/calibration_clips.h"

#include <atomic>
#include <limits>
#include <memory>
#include <mutex>
#include <thread>

namespace kvpareto::tune {
namespace {

struct AlignedDelete {
  void operator()(std::byte* p) const {
    ::operator delete (p, std::align_val_t{kv::kRegionAlignment});
  }
};

double SquaredError(kv::CodecId codec, kv::Role role, float clip,
                    std::span<const RowMatrix> tiles) {
  const int dim = static_cast<int>(tiles.front().cols());
  const std::unique_ptr<std::byte, AlignedDelete> encoded(static_cast<std::byte*>(
      ::operator new (kv::TileBytes(codec, role, dim), std::align_val_t{kv::kRegionAlignment})));
  RowMatrix decoded(kv::kBlockTokens, dim);
  const kv::StaticRange range{.clip = clip};
  double error = 0.0;
  for (const RowMatrix& tile : tiles) {
    kv::EncodeTile(codec, role, dim, range, tile.data(), encoded.get());
    kv::DecodeTile(codec, role, dim, range, encoded.get(), decoded.data());
    error += (decoded - tile).cast<double>().squaredNorm();
  }
  return error;
}

// Fills the clips of one head: clips[basis][codec].
class HeadSearch {
 public:
  HeadSearch(const ModelConfig& model, const CalibrationFit& fit, const TileSample& sample,
             size_t index)
      : fit_(fit.heads[index]),
        flagged_(fit.flagged[index / model.kv_heads]),
        codecs_(ClippedCodecs(model.head_dim)) {
    const int layer = static_cast<int>(index / model.kv_heads);
    const int h = static_cast<int>(index % model.kv_heads);
    RopedBias rope(model.inverse_frequency);
    for (int tile = 0; tile < sample.size(); ++tile) {
      keys_.push_back(sample.Keys(tile, layer, h));
      values_.push_back(sample.Values(tile, layer, h));
      if (!flagged_) continue;
      rope.SetPositions(sample.first_position(tile), kv::kBlockTokens);
      unbiased_keys_.push_back(keys_.back());
      rope.Subtract({fit_.key_bias.data(), static_cast<size_t>(model.head_dim)},
                    unbiased_keys_.back());
    }
  }

  std::vector<std::vector<float>> Keys(const std::vector<Basis>& bases) const {
    std::vector<std::vector<float>> clips;
    for (size_t b = 0; b < bases.size(); ++b) {
      const Basis& basis = bases[b];
      // Without a removed bias nothing differs from the basis that keeps it, which came before.
      if (basis.unbiased && !flagged_) {
        clips.push_back(clips[b - bases.size() / 2]);
      } else {
        clips.push_back(
            Search(kv::Role::kKey, basis.unbiased ? unbiased_keys_ : keys_, KeyMap(fit_, basis)));
      }
    }
    return clips;
  }

  std::vector<std::vector<float>> Values(const std::vector<Basis>& bases) const {
    std::vector<std::vector<float>> clips;
    for (const Basis& basis : bases) {
      clips.push_back(Search(kv::Role::kValue, values_, ValueMap(fit_, basis)));
    }
    return clips;
  }

 private:
  std::vector<float> Search(kv::Role role, const std::vector<RowMatrix>& tiles,
                            const AffineMap& map) const {
    std::vector<RowMatrix> mapped;
    for (const RowMatrix& tile : tiles) {
      mapped.push_back(tile.rowwise() - map.offset.transpose());
      if (map.matrix != nullptr) mapped.back() = mapped.back() * map.matrix->transpose();
    }
    std::vector<float> clips;
    for (kv::CodecId codec : codecs_) {
      const bool search = kv::GetCodecInfo(codec).bits <= kSearchedBits;
      clips.push_back(search ? BestClip(codec, role, mapped) : 1.0f);
    }
    return clips;
  }

  const HeadFit& fit_;
  const bool flagged_;
  const std::vector<kv::CodecId> codecs_;
  std::vector<RowMatrix> keys_, unbiased_keys_, values_;
};

// Calls work(i) for i < count from several threads.
template <typename Work>
void InParallel(int threads, size_t count, const Work& work) {
  std::atomic<size_t> next{0};
  std::vector<std::thread> pool;
  for (int t = 0; t < threads; ++t) {
    pool.emplace_back([&] {
      for (size_t i = next++; i < count; i = next++) work(i);
    });
  }
  for (std::thread& thread : pool) thread.join();
}

}  // namespace

std::vector<kv::CodecId> ClippedCodecs(int head_dim) {
  std::vector<kv::CodecId> codecs;
  for (int i = 0; i < kv::NumCodecs(); ++i) {
    const auto codec = static_cast<kv::CodecId>(i);
    const kv::CodecInfo& info = kv::GetCodecInfo(codec);
    const bool stores_scales = info.bits < 16 && !info.needs_static_range;
    if (stores_scales && kv::CodecSupports(codec, head_dim)) codecs.push_back(codec);
  }
  return codecs;
}

float BestClip(kv::CodecId codec, kv::Role role, std::span<const RowMatrix> tiles) {
  float best = kClipRatios[0];
  double least = std::numeric_limits<double>::infinity();
  for (float clip : kClipRatios) {
    const double error = SquaredError(codec, role, clip, tiles);
    if (error >= least) break;
    least = error;
    best = clip;
  }
  return best;
}

std::map<std::string, Calibration::Tensor> SearchClips(const ModelConfig& model,
                                                       const CalibrationFit& fit,
                                                       const TileSample& sample, int threads,
                                                       Progress& progress) {
  const std::vector<kv::CodecId> codecs = ClippedCodecs(model.head_dim);
  const std::vector<Basis> key_bases = KeyBases(), value_bases = ValueBases();
  const size_t heads = fit.heads.size();
  std::map<std::string, Calibration::Tensor> tensors;
  const auto clips_of = [&](const char* prefix, const Basis& basis,
                            size_t codec) -> Calibration::Tensor& {
    return tensors[prefix + basis.name + "." + std::string(kv::GetCodecInfo(codecs[codec]).name)];
  };
  std::mutex mutex;  // of `tensors` and `progress`
  const auto store = [&](const char* prefix, const std::vector<Basis>& bases, size_t head,
                         const std::vector<std::vector<float>>& clips) {
    for (size_t b = 0; b < bases.size(); ++b) {
      for (size_t c = 0; c < codecs.size(); ++c) {
        Calibration::Tensor& tensor = clips_of(prefix, bases[b], c);
        tensor.shape = {model.layers, model.kv_heads};
        tensor.values.resize(heads);
        tensor.values[head] = clips[b][c];
      }
    }
  };
  InParallel(threads, heads, [&](size_t index) {
    const HeadSearch search(model, fit, sample, index);
    const auto keys = search.Keys(key_bases);
    const auto values = search.Values(value_bases);
    std::lock_guard lock(mutex);
    store("k_clip.", key_bases, index, keys);
    store("v_clip.", value_bases, index, values);
    progress.Advance(1, "clip ratios");
  });
  return tensors;
}

}  // namespace kvpareto::tune
