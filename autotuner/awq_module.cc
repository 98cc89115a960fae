#include "autotuner/awq_module.h"

#include <algorithm>
#include <cmath>

#include "autotuner/parallel.h"
#include "autotuner/vector_exp.h"

namespace kvpareto::tune {
namespace {

Matrix Projected(const PackedRows& x, const Matrix& w, const std::vector<float>& bias,
                 int threads) {
  Matrix y = LinearOutput(x, w, threads);
  for (int64_t r = 0; r < y.rows && !bias.empty(); ++r) {
    for (int64_t c = 0; c < y.cols; ++c) y.row(r)[c] += bias[c];
  }
  return y;
}

// RMS norm of each head of a row, where the model has one.
void NormHeads(const std::vector<float>& norm, float epsilon, Matrix& x) {
  if (norm.empty()) return;
  const int64_t d = norm.size();
  for (float* head = x.values.data(); head < x.values.data() + x.values.size(); head += d) {
    double squares = 0.0;
    for (int64_t i = 0; i < d; ++i) squares += double{head[i]} * head[i];
    const float inverse = static_cast<float>(1.0 / std::sqrt(squares / d + epsilon));
    for (int64_t i = 0; i < d; ++i) head[i] *= inverse * norm[i];
  }
}

// Rotary embedding of pairs (i, i + d / 2); row r is at position r % sample_rows.
void Rotate(const ModelConfig& model, int sample_rows, Matrix& x) {
  const int half = model.head_dim / 2;
  std::vector<float> cosine(half), sine(half);
  for (int position = 0; position < sample_rows; ++position) {
    for (int i = 0; i < half; ++i) {
      const double angle = static_cast<double>(position) * model.inverse_frequency[i];
      cosine[i] = static_cast<float>(std::cos(angle));
      sine[i] = static_cast<float>(std::sin(angle));
    }
    for (int64_t r = position; r < x.rows; r += sample_rows) {
      for (float* head = x.row(r); head < x.row(r) + x.cols; head += 2 * half) {
        for (int i = 0; i < half; ++i) {
          const float first = head[i], second = head[half + i];
          head[i] = first * cosine[i] - second * sine[i];
          head[half + i] = second * cosine[i] + first * sine[i];
        }
      }
    }
  }
}

// x [kLanes * n] to exp(x - max), and their sum; entries past `count` become 0.
float SoftmaxNumerators(int count, float* x) {
  float largest = x[0];
  for (int i = 1; i < count; ++i) largest = std::max(largest, x[i]);
  double sum = 0.0;
  for (int i = 0; i < count; i += kLanes) {
    const Floats e = Exp(LoadFloats(x + i) - Broadcast(largest));
    for (int l = 0; l < kLanes; ++l) {
      x[i + l] = i + l < count ? e[l] : 0.0f;
      sum += x[i + l];
    }
  }
  return static_cast<float>(sum);
}

// One query head over one sample: out = softmax(q k^T / sqrt(d), causal, in the window) v. Adds to
// received [rows], if not null, the squares of what each token gets.
class HeadAttention {
 public:
  HeadAttention(const ModelConfig& model, const Matrix& q, const Matrix& k, const Matrix& v)
      : model_(model), q_(q), k_(k), v_(v) {}

  void Run(int64_t first_row, int rows, int head, Matrix& out, float* received) const {
    const int d = model_.head_dim;
    const int64_t kv_column = int64_t{head / (model_.heads / model_.kv_heads)} * d;
    const float scale = 1.0f / std::sqrt(static_cast<float>(d));
    std::vector<float> scores(rows + kLanes);
    for (int r = 0; r < rows; ++r) {
      const float* query = q_.row(first_row + r) + int64_t{head} * d;
      const int from = model_.sliding_window > 0 ? std::max(0, r + 1 - model_.sliding_window) : 0;
      const int count = r + 1 - from;
      for (int j = 0; j < count; ++j) {
        const float* key = k_.row(first_row + from + j) + kv_column;
        Floats sum = Broadcast(0.0f);
        for (int i = 0; i < d; i += kLanes) sum += LoadFloats(query + i) * LoadFloats(key + i);
        scores[j] = (sum[0] + sum[1] + sum[2] + sum[3]) * scale;
      }
      const float inverse = 1.0f / SoftmaxNumerators(count, scores.data());
      float* to = out.row(first_row + r) + int64_t{head} * d;
      for (int j = 0; j < count; ++j) {
        const float weight = scores[j] * inverse;
        if (received != nullptr) received[from + j] += weight * weight;
        const float* value = v_.row(first_row + from + j) + kv_column;
        for (int i = 0; i < d; ++i) to[i] += weight * value[i];
      }
    }
  }

 private:
  const ModelConfig& model_;
  const Matrix &q_, &k_, &v_;
};

// [samples * heads, sample_rows] -> [samples * sample_rows].
std::vector<float> SumOverHeads(const Matrix& by_head, int heads) {
  std::vector<float> sums(by_head.values.size() / heads);
  for (int64_t i = 0; i < by_head.rows; ++i) {
    float* sample = sums.data() + i / heads * by_head.cols;
    for (int64_t t = 0; t < by_head.cols; ++t) sample[t] += by_head.row(i)[t];
  }
  return sums;
}

}  // namespace

Matrix LinearOutput(const PackedRows& x, const Matrix& w, int threads) {
  Matrix y(x.rows(), w.rows);
  MultiplyTransposed(x, w.view(), y.values.data(), threads);
  return y;
}

Matrix AttentionModule::Attend(const PackedRows& x, const AwqLayer& layer,
                               std::vector<float>* received) const {
  Matrix q = Projected(x, layer[Linear::kQuery], layer.query_bias, threads);
  Matrix k = Projected(x, layer[Linear::kKey], layer.key_bias, threads);
  const Matrix v = Projected(x, layer[Linear::kValue], layer.value_bias, threads);
  NormHeads(layer.query_norm, config->rms_epsilon, q);
  NormHeads(layer.key_norm, config->rms_epsilon, k);
  Rotate(*config, sample_rows, q);
  Rotate(*config, sample_rows, k);
  Matrix attended(q.rows, q.cols);
  const HeadAttention attention(*config, q, k, v);
  const int tasks = static_cast<int>(q.rows / sample_rows) * config->heads;
  Matrix by_head(received == nullptr ? 0 : tasks, sample_rows);
  ParallelFor(tasks, threads, [&](int i) {
    attention.Run(int64_t{i / config->heads} * sample_rows, sample_rows, i % config->heads,
                  attended, received == nullptr ? nullptr : by_head.row(i));
  });
  if (received != nullptr) *received = SumOverHeads(by_head, config->heads);
  return attended;
}

Matrix AttentionModule::Output(const PackedRows& x, const AwqLayer& layer) const {
  return LinearOutput(PackedRows(Attend(x, layer, nullptr).view()), layer[Linear::kOutput],
                      threads);
}

Matrix FfnProduct(const PackedRows& x, const AwqLayer& layer, int threads) {
  Matrix gate = LinearOutput(x, layer[Linear::kGate], threads);
  const Matrix up = LinearOutput(x, layer[Linear::kUp], threads);
  ParallelFor(static_cast<int>(gate.rows), threads, [&](int r) {
    float* g = gate.row(r);
    const float* u = up.row(r);
    for (int64_t c = 0; c < gate.cols; c += kLanes) {  // ffn is a multiple of 16
      const Floats x = LoadFloats(g + c);
      const Floats product = x / (Exp(-x) + 1.0f) * LoadFloats(u + c);
      std::memcpy(g + c, &product, sizeof(product));
    }
  });
  return gate;
}

Matrix FfnOutput(const PackedRows& x, const AwqLayer& layer, int threads) {
  return LinearOutput(PackedRows(FfnProduct(x, layer, threads).view()), layer[Linear::kDown],
                      threads);
}

}  // namespace kvpareto::tune
