// What each technique contributes at the same bits: alone, and on top of all the others.
#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "autotuner/report/html.h"
#include "autotuner/report/report_sections.h"

namespace kvpareto::tune {
namespace {

constexpr double kWidth = 760, kNames = 290, kBits = 120, kLine = 22, kTop = 10, kBottom = 40;
constexpr size_t kMinSets = 3;  // fewer say nothing of single techniques
constexpr char kNotMeasured[] = "not measured";

using Techniques = std::set<std::string>;

// The best of the rows that do the same to the same bits.
struct Variant {
  const ReportRow* row = nullptr;
  double kl = 0.0;
};
using Variants = std::map<Techniques, Variant>;

// "int4/int2" of "k=int4-channel v=int2-token-g32 ...": codecs without granularity.
std::string BitsOf(const ReportRow& row) {
  const auto codec = [&](const std::string& key) {
    const std::string text = " " + row.config + " ";
    const size_t at = text.find(" " + key + "=");
    if (at == std::string::npos) return std::string();
    const size_t begin = at + key.size() + 2;
    return text.substr(begin, text.find_first_of("- ", begin) - begin);
  };
  const std::string k = codec("k"), v = codec("v");
  return k.empty() || v.empty() ? "" : k + "/" + v;
}

// By weights and bits; the divergence is that at the largest context.
std::map<std::pair<std::string, std::string>, Variants> GroupRows(const MarkedModel& marked) {
  std::map<std::pair<std::string, std::string>, Variants> groups;
  if (marked.report().contexts.empty()) return groups;
  for (const ReportRow* row : marked.rows()) {
    const ReportAccuracy* bucket = row->AccuracyAt(marked.report().contexts.back());
    const std::string bits = BitsOf(*row);
    if (bucket == nullptr || row->is_reference() || bits.empty() || !(bucket->kl_mean > 0.0)) {
      continue;
    }
    const Techniques techniques(row->techniques.begin(), row->techniques.end());
    Variant& variant = groups[{row->weights, bits}][techniques];
    if (variant.row == nullptr || bucket->kl_mean < variant.kl) variant = {row, bucket->kl_mean};
  }
  std::erase_if(groups, [](const auto& entry) { return entry.second.size() < kMinSets; });
  return groups;
}

std::string NameOf(const Techniques& techniques) {
  return techniques.empty() ? "codec alone" : absl::StrJoin(techniques, " + ");
}

// From the fewest techniques to the most; the same number: from the worst.
std::vector<std::pair<Techniques, Variant>> Ordered(const Variants& variants) {
  std::vector<std::pair<Techniques, Variant>> ordered(variants.begin(), variants.end());
  std::stable_sort(ordered.begin(), ordered.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first.size(), -a.second.kl) < std::pair(b.first.size(), -b.second.kl);
  });
  return ordered;
}

double BitsPerElement(const MarkedModel& marked, const ReportRow& row) {
  const auto& lengths = marked.report().memory_tokens;
  const ReportMemory* memory = lengths.empty() ? nullptr : row.MemoryAt(lengths.front());
  return memory == nullptr ? 0.0 : memory->bits_per_element;
}

std::string DotsSvg(const MarkedModel& marked, const Variants& variants, const std::string& title) {
  const auto ordered = Ordered(variants);
  std::vector<double> kls;
  for (const auto& [techniques, variant] : ordered) kls.push_back(variant.kl);
  const PlotAxis axis = LogAxis(kls, "mean KL to bf16 (log); less is better",
                                [](double value) { return ShortText(value, 2); });
  const double bottom = kTop + kLine * static_cast<double>(ordered.size());
  const auto x = [&](double kl) { return kNames + axis.Share(kl) * (kWidth - kNames - kBits); };
  std::string svg = absl::StrFormat(
      "<svg class=\"plot wide\" viewBox=\"0 0 %g %g\" role=\"group\" aria-label=\"%s\">\n"
      "<title>%s</title>\n",
      kWidth, bottom + kBottom, Escape(title), Escape(title));
  for (const PlotTick& tick : axis.ticks) {
    svg += absl::StrFormat(
        "<line class=\"grid\" x1=\"%1$.1f\" y1=\"%2$g\" x2=\"%1$.1f\" y2=\"%3$g\"/>"
        "<text class=\"tick mid\" x=\"%1$.1f\" y=\"%4$g\">%5$s</text>\n",
        x(tick.value), kTop, bottom, bottom + 15, Escape(tick.label));
  }
  svg += absl::StrFormat("<text class=\"label mid\" x=\"%g\" y=\"%g\">%s</text>\n",
                         (kNames + kWidth - kBits) / 2, bottom + 33, Escape(axis.label));
  for (size_t i = 0; i < ordered.size(); ++i) {
    const auto& [techniques, variant] = ordered[i];
    const ScatterPoint point = marked.PointOf(*variant.row);
    const double y = kTop + kLine * (static_cast<double>(i) + 0.5);
    svg += absl::StrFormat(
        "<g class=\"point on %s\" tabindex=\"0\" role=\"img\" data-row=\"%s\" aria-label=\"%s\">"
        "<title>%s</title><text class=\"tick end\" x=\"%g\" y=\"%g\">%s</text>"
        "<line class=\"stem\" x1=\"%g\" y1=\"%g\" x2=\"%.1f\" y2=\"%g\"/>"
        "<circle cx=\"%.1f\" cy=\"%g\" r=\"5\"/>"
        "<text class=\"tick\" x=\"%g\" y=\"%g\">%s bits</text></g>\n",
        point.css_class, point.id, Escape(point.tip), Escape(point.tip), kNames - 10, y + 4,
        Escape(NameOf(techniques)), kNames, y, x(variant.kl), y, x(variant.kl), y,
        kWidth - kBits + 14, y + 4, FixedText(BitsPerElement(marked, *variant.row), 2));
  }
  return svg + "</svg>\n";
}

// How many times less divergence there is with a technique than without, beside `rest`.
std::string Factor(const Variants& variants, Techniques rest, const std::string& technique) {
  rest.erase(technique);
  const auto without = variants.find(rest);
  rest.insert(technique);
  const auto with = variants.find(rest);
  if (without == variants.end() || with == variants.end()) return kNotMeasured;
  return ShortText(without->second.kl / with->second.kl, 2) + "\u00D7";
}

std::string FactorsTable(const Variants& variants, const std::string& title) {
  Techniques all, base;
  for (const auto& [techniques, variant] : variants)
    all.insert(techniques.begin(), techniques.end());
  const auto fewest = Ordered(variants).front().first;
  std::vector<TableRow> rows;
  for (const std::string& technique : all) {
    if (fewest.contains(technique)) continue;
    // The largest measured set that holds it.
    Techniques largest;
    for (const auto& [techniques, variant] : variants) {
      if (techniques.contains(technique) && techniques.size() > largest.size())
        largest = techniques;
    }
    const std::string alone = Factor(variants, fewest, technique);
    const std::string added = Factor(variants, largest, technique);
    if (alone == kNotMeasured && added == kNotMeasured) continue;
    rows.push_back(
        {.cells = {{Escape(technique)}, {alone, true}, {added, true}, {Escape(NameOf(largest))}}});
  }
  if (rows.empty()) return "";
  return TableHtml("By what each technique divides mean KL, " + title,
                   {"Technique", "Alone", "On top of the others", "The others and it"}, rows);
}

}  // namespace

std::string TechniqueSection(const MarkedModel& marked) {
  std::string html;
  for (const auto& [key, variants] : GroupRows(marked)) {
    const auto& [weights, bits] = key;
    std::string title = "keys/values " + bits;
    if (marked.model().weights.size() > 1) title += ", weights " + WeightsText(weights);
    html += "<figure>\n<figcaption>" + Escape(title) + "</figcaption>\n" +
            DotsSvg(marked, variants, title) + "</figure>\n" + FactorsTable(variants, title);
  }
  if (html.empty()) return "";
  return "<h3>What each technique contributes</h3>\n<p>Configs of the same bits that differ in "
         "what "
         "is done besides: mean KL to the bf16 cache at the largest context, and stored bits per "
         "element with all scales, sinks and windows. Where several configs do the same, the best "
         "is shown.</p>\n" +
         html;
}

}  // namespace kvpareto::tune
