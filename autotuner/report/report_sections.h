// The parts of a report. Every string from the results is escaped in them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "autotuner/report/report_data.h"
#include "autotuner/report/scatter_plot.h"

namespace kvpareto::tune {

// What a row is called in plots and tables of its model.
struct RowMark {
  std::string id;  // for HTML: letters and digits
  // "3" on the frontier of its weights, "B" of the paper's formats, "bf16" (its name where there
  // are several); else empty.
  std::string label;
};

// One model's rows with their marks, and the axis that all its plots share.
class MarkedModel {
 public:
  // Both outlive it. `index` tells models of a report apart.
  MarkedModel(const Report& report, const ReportModel& model, size_t index);

  const Report& report() const { return report_; }
  const ReportModel& model() const { return model_; }
  const std::vector<const ReportRow*>& rows() const { return rows_; }  // by weights and memory
  const RowMark& MarkOf(const ReportRow& row) const { return marks_.at(&row); }
  // On the frontier of some context, one of the paper's formats, or bf16.
  bool IsMarked(const ReportRow& row) const { return !MarkOf(row).label.empty(); }

  // MiB of the cache at the first of the report's memory lengths.
  double MemoryOf(const ReportRow& row) const;
  PlotAxis MemoryAxis() const;
  ScatterPoint PointOf(const ReportRow& row) const;  // without y

 private:
  void MarkRows(const ReportWeights& weights, size_t index);
  std::string TipOf(const ReportRow& row) const;

  const Report& report_;
  const ReportModel& model_;
  std::vector<const ReportRow*> rows_;
  std::map<const ReportRow*, RowMark> marks_;
};

// What a config loses of what tasks score or, without tasks, of agreement at the largest context.
struct Loss {
  Interval change;  // relative to bf16: -0.01 is a loss of one percent
  bool of_tasks = false;
};
std::optional<Loss> LossOf(const Report& report, const ReportRow& row);
// The row of the paper's formats, or of the others, that takes the least memory at `tokens` and
// loses at most `allowed`; null if there is none.
const ReportRow* LeastMemory(const MarkedModel& marked, int64_t tokens, double allowed, bool paper);

std::string SummarySection(const MarkedModel& marked);
std::string FrontierSection(const MarkedModel& marked);
std::string MemorySection(const MarkedModel& marked);
std::string TechniqueSection(const MarkedModel& marked);
std::string LayerSection(const MarkedModel& marked);
std::string RowsSection(const MarkedModel& marked);
std::string ProvenanceSection(const Report& report);

// What people call a kind of weights.
std::string WeightsText(const std::string& kind);

}  // namespace kvpareto::tune
