#include "autotuner/fidelity_report.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "absl/strings/str_format.h"

namespace kvpareto::tune {
namespace {

constexpr int kRunPositions = 64;
constexpr int kRounds = 2000;

struct Moments {
  int64_t positions = 0;
  double kl_mean = 0.0, kl_median = 0.0, kl_p99 = 0.0, top1 = 0.0, perplexity_ratio = 0.0;
};

Moments MomentsOf(const std::vector<PositionFidelity>& positions) {
  Moments moments{.positions = std::ssize(positions)};
  if (positions.empty()) return moments;
  const AccuracyBucket bucket = Summarize(0, positions);
  std::vector<double> kls;
  for (const PositionFidelity& p : positions) kls.push_back(p.kl);
  moments.kl_mean = bucket.kl_mean;
  moments.kl_median = Quantile(std::move(kls), 0.5);
  moments.kl_p99 = bucket.kl_p99;
  moments.top1 = bucket.accuracy;
  moments.perplexity_ratio = bucket.perplexity_ratio;
  return moments;
}

Moments AllTexts(const ConfigFidelity& config) {
  std::vector<PositionFidelity> all;
  for (const TextFidelity& text : config.texts) {
    all.insert(all.end(), text.positions.begin(), text.positions.end());
  }
  return MomentsOf(all);
}

// The positions whose query sees more than `above` and at most `up_to` tokens.
Moments Bucket(const ConfigFidelity& config, const FidelityOptions& options, int64_t above,
               int64_t up_to) {
  std::vector<PositionFidelity> inside;
  for (const TextFidelity& text : config.texts) {
    for (size_t i = 0; i < text.positions.size(); ++i) {
      const int64_t seen = options.first + static_cast<int64_t>(i) * options.stride + 1;
      if (seen > above && seen <= up_to) inside.push_back(text.positions[i]);
    }
  }
  return MomentsOf(inside);
}

const ConfigFidelity* Find(const FidelityReport& report, const std::string& name) {
  const auto found = std::find_if(report.configs.begin(), report.configs.end(),
                                  [&](const auto& c) { return c.measured.name == name; });
  return found == report.configs.end() ? nullptr : &*found;
}

nlohmann::json ToJson(const Moments& m) {
  return {{"positions", m.positions}, {"kl_mean", m.kl_mean},
          {"kl_median", m.kl_median}, {"kl_p99", m.kl_p99},
          {"top1_agreement", m.top1}, {"perplexity_ratio", m.perplexity_ratio}};
}

nlohmann::json ConfigJson(const FidelityReport& report, size_t index) {
  const ConfigFidelity& config = report.configs[index];
  nlohmann::json json = {{"name", config.measured.name},
                         {"config", config.measured.config.ToString()},
                         {"encode_on_write", config.measured.encode_on_write},
                         {"bits_per_element", report.bits[index]},
                         {"all", ToJson(AllTexts(config))}};
  for (const TextFidelity& text : config.texts) {
    json["texts"][text.text] = ToJson(MomentsOf(text.positions));
  }
  int64_t above = 0;
  for (int64_t context : report.contexts) {
    const Moments moments = Bucket(config, report.options, above, context);
    if (moments.positions > 0) json["contexts"][std::to_string(context)] = ToJson(moments);
    above = context;
  }
  for (const std::string& name : config.measured.baselines) {
    const ConfigFidelity* baseline = Find(report, name);
    if (baseline == nullptr) continue;
    const RatioInterval interval = CompareMeanKl(config, *baseline);
    json["kl_ratio"][name] = {
        {"ratio", interval.ratio}, {"low", interval.low}, {"high", interval.high}};
  }
  if (const auto needle = report.needles.find(config.measured.name);
      needle != report.needles.end()) {
    json["needle"] = {{"answered", needle->second}, {"questions", report.needle_questions}};
  }
  return json;
}

// Three significant digits: of divergences only their order matters below that.
std::string Short(double value) { return absl::StrFormat("%.3g", value); }

}  // namespace

RatioInterval CompareMeanKl(const ConfigFidelity& candidate, const ConfigFidelity& baseline) {
  struct Run {
    double candidate = 0.0, baseline = 0.0;
  };
  std::vector<Run> runs;
  Run total;
  for (size_t t = 0; t < candidate.texts.size() && t < baseline.texts.size(); ++t) {
    const auto& a = candidate.texts[t].positions;
    const auto& b = baseline.texts[t].positions;
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
      if (i % kRunPositions == 0) runs.emplace_back();
      runs.back().candidate += a[i].kl;
      runs.back().baseline += b[i].kl;
      total.candidate += a[i].kl;
      total.baseline += b[i].kl;
    }
  }
  const auto ratio = [](const Run& run) {
    return run.baseline > 0.0 ? run.candidate / run.baseline : 0.0;
  };
  if (runs.empty()) return {};
  std::mt19937_64 random(1);
  std::uniform_int_distribution<size_t> pick(0, runs.size() - 1);
  std::vector<double> ratios;
  for (int round = 0; round < kRounds; ++round) {
    Run sample;
    for (size_t i = 0; i < runs.size(); ++i) {
      const Run& run = runs[pick(random)];
      sample.candidate += run.candidate;
      sample.baseline += run.baseline;
    }
    ratios.push_back(ratio(sample));
  }
  return {.ratio = ratio(total), .low = Quantile(ratios, 0.025), .high = Quantile(ratios, 0.975)};
}

std::string FidelityJson(const FidelityReport& report) {
  nlohmann::json json = {{"model", report.model},
                         {"command", report.command},
                         {"machine", report.machine},
                         {"reference", report.options.reference.ToString()},
                         {"prefill_arithmetic", report.options.prefill_arithmetic},
                         {"tokens", report.tokens},
                         {"first_position", report.options.first},
                         {"stride", report.options.stride},
                         {"configs", nlohmann::json::array()}};
  for (size_t i = 0; i < report.configs.size(); ++i) {
    json["configs"].push_back(ConfigJson(report, i));
  }
  return json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string FidelityMarkdown(const FidelityReport& report) {
  std::string text =
      "| cache | bits | mean KL | median | p99 | top-1 | perplexity | mean KL against | needle |\n"
      "|---|---|---|---|---|---|---|---|---|\n";
  for (size_t i = 0; i < report.configs.size(); ++i) {
    const ConfigFidelity& config = report.configs[i];
    const Moments m = AllTexts(config);
    std::string against;
    for (const std::string& name : config.measured.baselines) {
      const ConfigFidelity* baseline = Find(report, name);
      if (baseline == nullptr) continue;
      const RatioInterval r = CompareMeanKl(config, *baseline);
      absl::StrAppendFormat(&against, "%s%s x %s (%s..%s)", against.empty() ? "" : "; ", name,
                            Short(r.ratio), Short(r.low), Short(r.high));
    }
    std::string needle;
    if (const auto found = report.needles.find(config.measured.name);
        found != report.needles.end()) {
      needle = absl::StrFormat("%d/%d", found->second, report.needle_questions);
    }
    absl::StrAppendFormat(&text, "| %s | %.2f | %s | %s | %s | %.4f | %.4f | %s | %s |\n",
                          config.measured.name, report.bits[i], Short(m.kl_mean),
                          Short(m.kl_median), Short(m.kl_p99), m.top1, m.perplexity_ratio, against,
                          needle);
  }
  text += "\n";
  for (const ConfigFidelity& config : report.configs) {
    absl::StrAppendFormat(&text, "* %s: `%s`%s\n", config.measured.name,
                          config.measured.config.ToString(),
                          config.measured.encode_on_write ? ", encoded when written" : "");
  }
  return text;
}

}  // namespace kvpareto::tune
