// Transforms resolved for a model: which arrays each layer gets, in which orientation; ranges and
// clips; what is refused.
#include "engine/model/kv_transforms.h"

#include <gtest/gtest.h>

#include <random>

#include "engine/cpu/cpu_backend.h"
#include "tests/model/status_matchers.h"

namespace kvpareto {
namespace {

constexpr int kLayers = 2, kHeads = 2, kDim = 6, kSquare = kDim * kDim;

class KvTransformsTest : public testing::Test {
 protected:
  KvTransformsTest() {
    model_.layers = kLayers;
    model_.heads = 4;
    model_.kv_heads = kHeads;
    model_.head_dim = kDim;
  }

  void Add(const std::string& name, std::vector<int64_t> shape) {
    size_t size = 1;
    for (int64_t extent : shape) size *= extent;
    std::vector<float> values(size);
    for (float& x : values) x = normal_(rng_);
    calibration_.tensors[name] = {.shape = std::move(shape), .values = std::move(values)};
  }
  std::vector<float>& Values(const std::string& name) { return calibration_.tensors[name].values; }

  TransformSpec Spec(const kv::Transforms& transforms, const char* codec = "int4-token") const {
    const kv::CodecId id = *kv::FindCodec(codec);
    return {.transforms = transforms, .codecs = std::vector<kv::LayerCodecs>(kLayers, {id, id})};
  }
  std::shared_ptr<const KvTransforms> Create(const TransformSpec& spec) {
    auto transforms = KvTransforms::Create(spec, model_, cache_);
    EXPECT_TRUE(transforms.ok()) << transforms.status();
    return transforms.ok() ? *transforms : nullptr;
  }

  ModelConfig model_;
  Calibration calibration_;
  std::unique_ptr<Backend> backend_ = *CreateCpuBackend({.threads = 1});
  TransformCache cache_{model_, &calibration_, backend_.get()};
  std::mt19937 rng_{5};
  std::normal_distribution<float> normal_;
};

TEST_F(KvTransformsTest, NothingIsDoneWithoutTransforms) {
  const auto transforms = Create(Spec({}));
  EXPECT_EQ(transforms->layer(0), nullptr);
  EXPECT_FALSE(transforms->key_bias(1));
  EXPECT_EQ(cache_.device_bytes(), 0u);
}

TEST_F(KvTransformsTest, ConfigsShareTheMatricesOfOneChain) {
  Add("key_rotation.oscar", {kLayers, kHeads, kDim, kDim});
  const kv::Transforms oscar = {.k_rotation = kv::Rotation::kOscar};
  EXPECT_TRUE(cache_.Prepare(oscar).ok());
  EXPECT_EQ(cache_.device_bytes(), 0u);  // on the device when it is used
  const auto first = Create(Spec(oscar));
  const uint64_t bytes = cache_.device_bytes();
  EXPECT_GE(bytes, 2u * kLayers * kHeads * kSquare * sizeof(float));
  kv::Transforms clipped = oscar;
  clipped.k_clip.ratio = 0.9f;
  const auto second = Create(Spec(clipped, "int8-token"));
  EXPECT_EQ(second->layer(1), first->layer(1));
  EXPECT_EQ(cache_.device_bytes(), bytes);
  // One array serves the Hadamard rotation of every layer, both ways.
  const auto hadamard = Create(Spec({.v_rotation = kv::Rotation::kHadamard}));
  EXPECT_EQ(hadamard->layer(0)->value_matrix, hadamard->layer(1)->output_matrix);
  EXPECT_GT(cache_.device_bytes(), bytes);
}

TEST_F(KvTransformsTest, MatricesLeaveTheDeviceWithTheirLastConfig) {
  const kv::Transforms hadamard = {.k_rotation = kv::Rotation::kHadamard};
  Create(Spec(hadamard));
  EXPECT_EQ(cache_.device_bytes(), 0u);
  EXPECT_NE(Create(Spec(hadamard))->layer(0)->key_matrix, nullptr);
}

TEST_F(KvTransformsTest, VectorsOfEachLayerAndOnlyFlaggedBiases) {
  Add("key_bias", {kLayers, kHeads, kDim});
  Add("key_mean", {kLayers, kHeads, kDim});
  Add("key_mean_unbiased", {kLayers, kHeads, kDim});
  Add("value_mean", {kLayers, kHeads, kDim});
  std::fill_n(Values("key_bias").begin(), kHeads * kDim, 0.0f);  // layer 0 is not flagged
  const auto transforms =
      Create(Spec({.k_center = true, .v_center = true, .remove_key_bias = true}));
  EXPECT_FALSE(transforms->key_bias(0));
  EXPECT_TRUE(transforms->key_bias(1));
  for (int i = 0; i < kHeads * kDim; ++i) {
    const int second = kHeads * kDim + i;
    EXPECT_EQ(transforms->layer(1)->key_bias[i], Values("key_bias")[second]);
    EXPECT_EQ(transforms->layer(1)->key_center[i], Values("key_mean_unbiased")[second]);
    EXPECT_EQ(transforms->layer(0)->value_center[i], Values("value_mean")[i]);
  }
  EXPECT_EQ(transforms->layer(1)->key_matrix, nullptr);
  // With the bias kept, keys have another mean.
  EXPECT_EQ(Create(Spec({.k_center = true}))->layer(0)->key_center[3], Values("key_mean")[3]);
}

// y = x A with A = M^T is y = M x; queries get M^-1 so that q' . k' = q . k.
TEST_F(KvTransformsTest, MatricesAreTransposedAndInverted) {
  Add("key_rotation.balanced", {kLayers, kHeads, kDim, kDim});
  Add("value_rotation.oscar", {kLayers, kHeads, kDim, kDim});
  const auto transforms =
      Create(Spec({.k_rotation = kv::Rotation::kBalanced, .v_rotation = kv::Rotation::kOscar}));
  for (int layer = 0; layer < kLayers; ++layer) {
    const LayerTransform& t = *transforms->layer(layer);
    for (int head = 0; head < kHeads; ++head) {
      const int at = head * kSquare, all = layer * kHeads * kSquare + at;
      for (int r = 0; r < kDim; ++r) {
        for (int c = 0; c < kDim; ++c) {
          EXPECT_EQ(t.key_matrix[at + r * kDim + c],
                    Values("key_rotation.balanced")[all + c * kDim + r]);
          EXPECT_EQ(t.value_matrix[at + r * kDim + c],
                    Values("value_rotation.oscar")[all + c * kDim + r]);
          // M^-1 M, and N^T N^-T.
          double keys = 0.0, values = 0.0;
          for (int i = 0; i < kDim; ++i) {
            keys += double{t.query_matrix[at + r * kDim + i]} * t.key_matrix[at + c * kDim + i];
            values +=
                double{t.value_matrix[at + r * kDim + i]} * t.output_matrix[at + i * kDim + c];
          }
          // Elements of size 1, inverses of a few tens at most, rounded to float.
          EXPECT_NEAR(keys, r == c ? 1.0 : 0.0, 1e-4);
          EXPECT_NEAR(values, r == c ? 1.0 : 0.0, 1e-4);
        }
      }
    }
  }
}

TEST_F(KvTransformsTest, RefusesMatricesThatCannotBeInverted) {
  Add("key_rotation.oscar", {kLayers, kHeads, kDim, kDim});
  auto& values = Values("key_rotation.oscar");
  std::copy_n(values.begin() + 3 * kSquare, kDim, values.begin() + 3 * kSquare + kDim);
  const TransformSpec spec = Spec({.k_rotation = kv::Rotation::kOscar});
  EXPECT_TRUE(Fails(KvTransforms::Create(spec, model_, cache_).status(), "CALIBRATION_INVALID",
                    "layer 1 head 1"));
  EXPECT_TRUE(Fails(cache_.Prepare(spec.transforms), "CALIBRATION_INVALID", "layer 1 head 1"));
}

TEST_F(KvTransformsTest, ClipsAreFixedOrCalibratedPerBasisAndCodec) {
  const auto fixed = Create(Spec({.k_clip = {.ratio = 0.5f}}));
  ASSERT_EQ(fixed->KeyRanges(1).size(), size_t{kHeads});
  EXPECT_EQ(fixed->KeyRanges(1)[1].clip, 0.5f);
  EXPECT_EQ(fixed->ValueRanges(1)[1].clip, 1.0f);

  Add("v_clip.hadamard.int4-token", {kLayers, kHeads});
  const auto calibrated =
      Create(Spec({.v_rotation = kv::Rotation::kHadamard, .v_clip = {.calibrated = true}}));
  EXPECT_EQ(calibrated->ValueRanges(1)[0].clip, Values("v_clip.hadamard.int4-token")[kHeads]);
  EXPECT_EQ(calibrated->KeyRanges(1)[0].clip, 1.0f);
}

TEST_F(KvTransformsTest, StaticRangesOfTheBasis) {
  Add("k_range.hadamard", {kLayers, kHeads, 2});
  Add("v_range.plain", {kLayers, kHeads, 2});
  const auto transforms = Create(Spec({.k_rotation = kv::Rotation::kHadamard}, "int8-tensor"));
  EXPECT_EQ(transforms->KeyRanges(1)[1].min, Values("k_range.hadamard")[2 * 3]);
  EXPECT_EQ(transforms->KeyRanges(1)[1].max, Values("k_range.hadamard")[2 * 3 + 1]);
  EXPECT_EQ(transforms->ValueRanges(0)[1].max, Values("v_range.plain")[3]);
}

TEST_F(KvTransformsTest, SaysWhichTensorIsMissing) {
  const auto missing = [&](const kv::Transforms& transforms, const char* codec = "int4-token") {
    const absl::Status status = CheckCalibrated(Spec(transforms, codec), &calibration_);
    EXPECT_TRUE(Fails(status, "CALIBRATION_MISSING", "kvpareto-tune calibrate"));
    EXPECT_EQ(CheckCalibrated(Spec(transforms, codec), nullptr).code(),
              absl::StatusCode::kFailedPrecondition);
    return GetErrorInfo(status)->metadata.at("tensor");
  };
  EXPECT_EQ(missing({.k_rotation = kv::Rotation::kOscar}), "key_rotation.oscar");
  EXPECT_EQ(missing({.v_center = true}), "value_mean");
  EXPECT_EQ(missing({}, "int4-tensor"), "k_range.plain");
  EXPECT_EQ(missing({.k_clip = {.calibrated = true}}), "k_clip.plain.int4-token");
  EXPECT_EQ(missing({.k_center = true}), "key_mean");
  Add("key_bias", {kLayers, kHeads, kDim});
  EXPECT_EQ(missing({.k_center = true, .remove_key_bias = true}), "key_mean_unbiased");
  EXPECT_TRUE(CheckCalibrated(Spec({.remove_key_bias = true}), &calibration_).ok());
  EXPECT_TRUE(CheckCalibrated(Spec({.k_rotation = kv::Rotation::kHadamard}), nullptr).ok());
  // Clips of codecs that have none to fit.
  EXPECT_TRUE(CheckCalibrated(Spec({.k_clip = {.calibrated = true}}, "bf16"), nullptr).ok());
}

}  // namespace
}  // namespace kvpareto
