// Static ranges: measured, saved, loaded, used, and refused where they do not belong.
#include "engine/model/calibration.h"

#include "tests/engine/engine_fixture.h"

namespace kvpareto {
namespace {

constexpr char kTensorConfig[] = "k=int8-tensor v=int8-tensor sink=0 recent=0 chunk=64";

class CalibrationTest : public EngineTest {
 protected:
  // Ranges of what Observe shows.
  Calibration Measure() {
    const ModelConfig& model = engine_->model().config;
    Calibration calibration{.fingerprint = engine_->model().fingerprint};
    for (const char* name : {"k_range.plain", "v_range.plain"}) {
      calibration.tensors[name] = {.shape = {model.layers, model.kv_heads, 2},
                                   .values = std::vector<float>(model.layers * model.kv_heads * 2)};
    }
    const auto widen = [&](std::span<const float> rows, int layer, std::vector<float>& ranges) {
      for (size_t i = 0; i < rows.size(); ++i) {
        const int head = static_cast<int>(i) / model.head_dim % model.kv_heads;
        float* range = &ranges[2 * (layer * model.kv_heads + head)];
        range[0] = std::min(range[0], rows[i]);
        range[1] = std::max(range[1], rows[i]);
      }
    };
    const auto status = engine_->Observe(Tokens(1000, 9), [&](const LayerObservation& seen) {
      widen(seen.k, seen.layer, calibration.tensors["k_range.plain"].values);
      widen(seen.v, seen.layer, calibration.tensors["v_range.plain"].values);
    });
    EXPECT_TRUE(status.ok()) << status;
    return calibration;
  }
  std::string Calibrated() {
    const std::string path = dir_.File("calibration.safetensors");
    EXPECT_TRUE(SaveCalibration(Measure(), path).ok());
    return path;
  }
};

TEST_F(CalibrationTest, RoundTripAndUse) {
  Start();
  const Calibration measured = Measure();
  const std::string path = Calibrated();
  const auto loaded = LoadCalibration(path, engine_->model().config, engine_->model().fingerprint);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  for (const auto& [name, tensor] : measured.tensors) {
    ASSERT_NE(loaded->Find(name), nullptr) << name;
    EXPECT_EQ(loaded->Find(name)->values, tensor.values) << name;
    EXPECT_LT(tensor.values[0], tensor.values[1]) << name;
  }
  // Without the file the config is refused, with it the answer is close to the bf16 cache's.
  EXPECT_EQ(Reason(engine_->Prepare(Greedy(300, 5, kTensorConfig)).status()),
            "CALIBRATION_MISSING");
  options_.calibration_path = path;
  Start();
  EXPECT_EQ(Run(Greedy(300, 5, kTensorConfig)).size(), 5u);
  const auto score = [&](const char* text) {
    std::vector<float> all;
    const auto config = KvConfig::Parse(text);
    EXPECT_TRUE(engine_
                    ->Score(Tokens(300, 9), *config, {},
                            [&](int64_t, std::span<const float> logits) {
                              all.insert(all.end(), logits.begin(), logits.end());
                            })
                    .ok());
    return all;
  };
  const auto exact = score("k=bf16 v=bf16 sink=0 recent=0 chunk=64");
  const auto quantized = score(kTensorConfig);
  double worst = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    worst = std::max(worst, std::abs(double(exact[i]) - quantized[i]));
  }
  EXPECT_GT(worst, 0.0);
  EXPECT_LT(worst, 0.5);  // logits have a standard deviation of about 1
}

TEST_F(CalibrationTest, RefusesForeignAndBrokenFiles) {
  Start();
  const std::string path = Calibrated();
  const ModelConfig& model = engine_->model().config;
  EXPECT_EQ(LoadCalibration(path, model, "0123456789abcdef").status().code(),
            absl::StatusCode::kFailedPrecondition);
  ModelConfig other = model;
  other.layers = 3;
  EXPECT_EQ(LoadCalibration(path, other, engine_->model().fingerprint).status().code(),
            absl::StatusCode::kInvalidArgument);
  const std::string bytes = support::ReadBytes(path);
  for (size_t size : {size_t{1}, size_t{8}, size_t{40}, bytes.size() - 1}) {
    support::WriteBytes(path, bytes.substr(0, size));
    EXPECT_FALSE(LoadCalibration(path, model, engine_->model().fingerprint).ok()) << size;
  }
  EXPECT_EQ(LoadCalibration(dir_.File("none"), model, "").status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace kvpareto
