#include <algorithm>
#include <limits>

#include "autotuner/report/html.h"
#include "autotuner/report/report_sections.h"

namespace kvpareto::tune {
namespace {

constexpr double kMiB = 1048576.0;

std::string LetterOf(size_t index) {
  const std::string letter(1, static_cast<char>('A' + index % 26));
  return index < 26 ? letter : letter + std::to_string(index / 26);
}

}  // namespace

MarkedModel::MarkedModel(const Report& report, const ReportModel& model, size_t index)
    : report_(report), model_(model) {
  for (const ReportWeights& weights : model.weights) MarkRows(weights, index);
}

void MarkedModel::MarkRows(const ReportWeights& weights, size_t index) {
  const size_t first = rows_.size();
  for (const ReportRow& row : weights.rows) rows_.push_back(&row);
  std::stable_sort(
      rows_.begin() + static_cast<std::ptrdiff_t>(first), rows_.end(),
      [&](const ReportRow* a, const ReportRow* b) { return MemoryOf(*a) < MemoryOf(*b); });
  const auto references = std::count_if(weights.rows.begin(), weights.rows.end(),
                                        [](const ReportRow& row) { return row.is_reference(); });
  size_t ours = 0, paper = 0;
  for (size_t i = first; i < rows_.size(); ++i) {
    const ReportRow& row = *rows_[i];
    RowMark& mark = marks_[&row];
    mark.id = "m" + std::to_string(index) + "r" + std::to_string(i);
    if (!row.failure.empty() && row.frontier.empty()) continue;
    if (row.is_reference()) {
      mark.label = references == 1 ? "bf16" : row.name;  // which tells the chunk
    } else if (row.is_paper()) {
      mark.label = LetterOf(paper++);
    } else if (!row.frontier.empty()) {
      mark.label = std::to_string(++ours);
    }
  }
}

double MarkedModel::MemoryOf(const ReportRow& row) const {
  if (report_.memory_tokens.empty()) return 0.0;
  const ReportMemory* memory = row.MemoryAt(report_.memory_tokens.front());
  if (memory == nullptr) return 0.0;
  return memory->kv / kMiB;
}

PlotAxis MarkedModel::MemoryAxis() const {
  std::vector<double> values;
  for (const ReportRow* row : rows_) {
    if (!row->accuracy.empty()) values.push_back(MemoryOf(*row));
  }
  const int64_t tokens = report_.memory_tokens.empty() ? 0 : report_.memory_tokens.front();
  return LogAxis(values, "KV cache of " + CountText(tokens) + " tokens, MiB (log)",
                 [](double value) { return ShortText(value, 4); });
}

std::string MarkedModel::TipOf(const ReportRow& row) const {
  std::string tip = row.name + "\n" + row.config;
  if (model_.weights.size() > 1) tip += "\nweights: " + WeightsText(row.weights);
  for (const ReportMemory& memory : row.memory) {
    tip += "\n" + CountText(memory.tokens) + " tokens: KV cache " + ByteText(memory.kv) + " (" +
           FixedText(memory.bits_per_element, 2) + " bits), total " + ByteText(memory.total);
  }
  for (const ReportAccuracy& bucket : row.accuracy) {
    tip += "\nagrees with bf16 up to " + CountText(bucket.context) +
           " tokens: " + PercentText(bucket.accuracy, 2) + " (at least " +
           PercentText(bucket.low, 2) + "), KL " + ShortText(bucket.kl_mean);
  }
  if (row.score && row.score->relative) {
    const Interval& change = *row.score->relative;
    tip += "\ntask score " + SignedPercentText(change.value) + " (" +
           SignedPercentText(change.low) + " to " + SignedPercentText(change.high) + ")";
  }
  if (row.speed) tip += "\ndecodes " + ShortText(row.speed->decode) + " tokens/s";
  return tip;
}

ScatterPoint MarkedModel::PointOf(const ReportRow& row) const {
  const RowMark& mark = MarkOf(row);
  return {.x = MemoryOf(row),
          .css_class = row.is_paper()       ? "paper"
                       : row.is_reference() ? "reference"
                                            : "ours",
          .emphasized = !mark.label.empty(),
          .label = mark.label,
          .tip = TipOf(row),
          .id = mark.id};
}

std::optional<Loss> LossOf(const Report& report, const ReportRow& row) {
  if (row.score && row.score->relative) {
    return Loss{.change = *row.score->relative, .of_tasks = true};
  }
  if (row.is_reference()) return Loss{};
  if (report.contexts.empty()) return std::nullopt;
  const ReportAccuracy* bucket = row.AccuracyAt(report.contexts.back());
  if (bucket == nullptr) return std::nullopt;
  const double change = bucket->accuracy - 1.0;
  return Loss{.change = {.value = change, .low = bucket->low - 1.0, .high = change}};
}

const ReportRow* LeastMemory(const MarkedModel& marked, int64_t tokens, double allowed,
                             bool paper) {
  const bool tasks = std::any_of(marked.rows().begin(), marked.rows().end(), [&](const auto* row) {
    return row->score && row->score->relative;
  });
  const ReportRow* best = nullptr;
  double least = std::numeric_limits<double>::infinity();
  for (const ReportRow* row : marked.rows()) {
    if (row->is_paper() != paper || !row->failure.empty()) continue;
    const std::optional<Loss> loss = LossOf(marked.report(), *row);
    const ReportMemory* memory = row->MemoryAt(tokens);
    // Where tasks decide, a row without them is no candidate.
    if (!loss || memory == nullptr || (tasks && !loss->of_tasks)) continue;
    if (loss->change.value < -allowed || memory->total >= least) continue;
    best = row;
    least = memory->total;
  }
  return best;
}

std::string WeightsText(const std::string& kind) {
  if (kind == "awq4") return "AWQ 4-bit";
  return kind == "as-is" ? "as in the file" : kind;
}

}  // namespace kvpareto::tune
