// How far a candidate cache's predictions are from the reference's: pure statistics.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/engine.h"

namespace kvpareto::tune {

// One predicted position: the candidate's distribution against the reference's, both over [vocab].
struct PositionFidelity {
  double kl = 0.0;  // nats, KL(reference || candidate)
  bool same_top = false;
  double reference_nll = 0.0;  // nats, of the token that really follows
  double candidate_nll = 0.0;
};

// Natural logarithms of softmax(logits), in place. Accumulates in double.
void LogSoftmax(std::span<float> logits);

// Both arguments are log-probabilities [vocab]; next_token is in range.
PositionFidelity ComparePosition(std::span<const float> reference, std::span<const float> candidate,
                                 int32_t next_token);

// Lower end of the two-sided 95% Wilson score interval of a proportion; 0 without trials.
double WilsonLow(int64_t successes, int64_t trials);

// 2.5% quantile of the mean under resampling of whole runs of `block` consecutive samples (the last
// run may be shorter): neighbouring positions of one text are not independent. Deterministic.
double BlockBootstrapLow(std::span<const double> samples, int block);

// Smallest sample that at least the share q of the samples does not exceed; 0 without samples. q in
// (0, 1].
double Quantile(std::vector<double> samples, double q);

// The bucket that a table stores. accuracy: top-1 agreement. accuracy_low: the lower of WilsonLow
// and BlockBootstrapLow over runs of 64, so that neither dependence (which Wilson ignores) nor a
// perfect sample (which no resampling can vary) looks better than it is.
AccuracyBucket Summarize(int64_t max_context_tokens, std::span<const PositionFidelity> positions);

}  // namespace kvpareto::tune
