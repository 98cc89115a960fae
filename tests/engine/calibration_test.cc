// Static ranges: measured, saved, loaded, used, and refused where they do not belong.
#include "engine/model/calibration.h"

#include "tests/engine/engine_fixture.h"

namespace kvpareto {
namespace {

constexpr char kTensorConfig[] = "k=int8-tensor v=int8-tensor sink=0 recent=0 chunk=64";

class CalibrationTest : public EngineTest {
 protected:
  std::string Calibrated() {
    const auto calibration = engine_->Calibrate(Tokens(3000, 9));
    EXPECT_TRUE(calibration.ok()) << calibration.status();
    const std::string path = dir_.File("calibration.safetensors");
    EXPECT_TRUE(SaveCalibration(*calibration, path).ok());
    return path;
  }
};

TEST_F(CalibrationTest, RoundTripAndUse) {
  Start();
  const auto measured = engine_->Calibrate(Tokens(3000, 9));
  ASSERT_TRUE(measured.ok()) << measured.status();
  const std::string path = Calibrated();
  const auto loaded = LoadCalibration(path, engine_->model().config, engine_->model().fingerprint);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  for (int layer = 0; layer < engine_->model().config.layers; ++layer) {
    for (int head = 0; head < engine_->model().config.kv_heads; ++head) {
      EXPECT_EQ(loaded->k[layer][head].min, measured->k[layer][head].min);
      EXPECT_EQ(loaded->v[layer][head].max, measured->v[layer][head].max);
      EXPECT_LT(loaded->k[layer][head].min, loaded->k[layer][head].max);
    }
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
