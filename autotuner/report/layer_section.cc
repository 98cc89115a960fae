// Which layers need precision: sensitivity by layer and codec, and the codecs of per-layer maps.
#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/str_format.h"
#include "autotuner/report/html.h"
#include "autotuner/report/report_sections.h"

namespace kvpareto::tune {
namespace {

constexpr double kNames = 190, kCell = 22, kTop = 24;
constexpr int kShades = 9;
constexpr size_t kMaxLayers = 512;  // columns that are drawn

// One line of a heat map.
struct HeatRow {
  std::string name;
  struct Cell {
    double shade = -1.0;  // 0..1; negative: nothing there
    std::string text, tip;
  };
  std::vector<Cell> cells;  // by layer
};

std::string CellSvg(const HeatRow::Cell& cell, double x, double y) {
  if (cell.shade < 0.0) return "";
  const int shade = static_cast<int>(std::lround(std::clamp(cell.shade, 0.0, 1.0) * (kShades - 1)));
  std::string svg = absl::StrFormat(
      "<g class=\"cell\" tabindex=\"0\" role=\"img\" aria-label=\"%1$s\"><title>%1$s</title>"
      "<rect class=\"heat%2$d\" x=\"%3$g\" y=\"%4$g\" width=\"%5$g\" height=\"%5$g\"/>",
      Escape(cell.tip), shade, x, y, kCell - 1);
  if (!cell.text.empty()) {
    svg += absl::StrFormat("<text class=\"in%d\" x=\"%g\" y=\"%g\">%s</text>",
                           shade >= kShades / 2 ? 1 : 0, x + kCell / 2 - 0.5, y + kCell / 2 + 3.5,
                           Escape(cell.text));
  }
  return svg + "</g>\n";
}

std::string HeatSvg(const std::vector<HeatRow>& rows, const std::string& title) {
  size_t layers = 0;
  for (const HeatRow& row : rows) layers = std::max(layers, row.cells.size());
  layers = std::min(layers, kMaxLayers);
  const double width = kNames + kCell * static_cast<double>(layers) + 4;
  const double height = kTop + kCell * static_cast<double>(rows.size()) + 4;
  std::string svg = absl::StrFormat(
      "<svg class=\"plot heat\" style=\"width:%gpx\" viewBox=\"0 0 %g %g\" role=\"group\" "
      "aria-label=\"%s\">\n<title>%s</title>\n<text class=\"tick end\" x=\"%g\" "
      "y=\"16\">layer</text>\n",
      width, width, height, Escape(title), Escape(title), kNames - 8);
  for (size_t layer = 0; layer<layers; layer += layers> 16 ? 2 : 1) {
    svg += absl::StrFormat("<text class=\"tick mid\" x=\"%g\" y=\"16\">%d</text>\n",
                           kNames + kCell * (static_cast<double>(layer) + 0.5), layer);
  }
  for (size_t r = 0; r < rows.size(); ++r) {
    const double y = kTop + kCell * static_cast<double>(r);
    svg += absl::StrFormat("<text class=\"tick end\" x=\"%g\" y=\"%g\">%s</text>\n", kNames - 8,
                           y + 15, Escape(rows[r].name));
    for (size_t layer = 0; layer < std::min(rows[r].cells.size(), layers); ++layer) {
      svg += CellSvg(rows[r].cells[layer], kNames + kCell * static_cast<double>(layer), y);
    }
  }
  return svg + "</svg>\n";
}

std::string Figure(const std::vector<HeatRow>& rows, const std::string& title) {
  return "<figure>\n<figcaption>" + Escape(title) +
         "</figcaption>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"" +
         Escape(title) + "\">\n" + HeatSvg(rows, title) + "</div>\n</figure>\n";
}

// Shades are equal ratios of divergence, from the least to the most of all layers and codecs.
std::vector<HeatRow> SensitivityRows(const ReportWeights& weights) {
  std::set<std::string> names[2];
  double low = 1e300, high = 0.0;
  for (const ReportSensitivity& layer : weights.sensitivity) {
    for (const auto* codecs : {&layer.k, &layer.v}) {
      for (const auto& [codec, kl] : *codecs) {
        names[codecs == &layer.v].insert(codec);
        if (kl > 0.0) low = std::min(low, kl);
        high = std::max(high, kl);
      }
    }
  }
  std::vector<HeatRow> rows;
  for (const bool values : {false, true}) {
    for (const std::string& codec : names[values]) {
      HeatRow row{.name = (values ? "V " : "K ") + codec, .cells = {}};
      for (const ReportSensitivity& layer : weights.sensitivity) {
        const auto& codecs = values ? layer.v : layer.k;
        const auto found = codecs.find(codec);
        HeatRow::Cell& cell = row.cells.emplace_back();
        if (found == codecs.end()) continue;
        const double ratio = std::log(high / low);
        cell.shade =
            found->second <= low || !(ratio > 0.0) ? 0.0 : std::log(found->second / low) / ratio;
        cell.tip = "layer " + std::to_string(layer.layer) + ", " + row.name + ": KL " +
                   ShortText(found->second);
      }
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

// "4" of "int4-channel"; 16 of bf16; the text itself otherwise.
std::string BitsText(const std::string& codec) {
  const size_t digits = codec.find_first_of("0123456789");
  if (digits == std::string::npos) return codec;
  return codec.substr(digits, codec.find_first_not_of("0123456789", digits) - digits);
}

double BitsShade(const std::string& bits) {
  const double value = std::atof(bits.c_str());
  return value > 0.0 ? (std::log2(value) - 1.0) / 3.0 : 0.0;  // 2 bits to 16
}

// Two lines for each row with a map of its own.
std::vector<HeatRow> MapRows(const MarkedModel& marked) {
  std::vector<HeatRow> rows;
  for (const ReportRow* row : marked.rows()) {
    if (row->layers.empty() || !marked.IsMarked(*row)) continue;
    for (const bool values : {false, true}) {
      HeatRow heat{.name = marked.MarkOf(*row).label + (values ? "  V bits" : "  K bits"),
                   .cells = {}};
      for (size_t layer = 0; layer < row->layers.size(); ++layer) {
        const std::string& codec = values ? row->layers[layer].second : row->layers[layer].first;
        const std::string bits = BitsText(codec);
        heat.cells.push_back({.shade = BitsShade(bits),
                              .text = bits,
                              .tip = row->name + ", layer " + std::to_string(layer) + ": " +
                                     (values ? "values " : "keys ") + codec});
      }
      rows.push_back(std::move(heat));
    }
  }
  return rows;
}

std::string SensitivityTable(const ReportWeights& weights) {
  std::set<std::string> k, v;
  for (const ReportSensitivity& layer : weights.sensitivity) {
    for (const auto& [codec, kl] : layer.k) k.insert(codec);
    for (const auto& [codec, kl] : layer.v) v.insert(codec);
  }
  std::vector<std::string> headers = {"Layer"};
  for (const std::string& codec : k) headers.push_back("K " + codec);
  for (const std::string& codec : v) headers.push_back("V " + codec);
  std::vector<TableRow> rows;
  for (const ReportSensitivity& layer : weights.sensitivity) {
    TableRow row{.cells = {{std::to_string(layer.layer)}}};
    const auto add = [&](const std::set<std::string>& codecs,
                         const std::map<std::string, double>& kls) {
      for (const std::string& codec : codecs) {
        const auto found = kls.find(codec);
        row.cells.push_back({found == kls.end() ? "" : ShortText(found->second), true});
      }
    };
    add(k, layer.k);
    add(v, layer.v);
    rows.push_back(std::move(row));
  }
  return "<details><summary>As a table</summary>\n" +
         TableHtml("Mean KL that a codec adds in one layer alone", headers, rows) + "</details>\n";
}

}  // namespace

std::string LayerSection(const MarkedModel& marked) {
  std::string html;
  for (const ReportWeights& weights : marked.model().weights) {
    if (weights.sensitivity.empty()) continue;
    html += Figure(SensitivityRows(weights),
                   "Mean KL that a codec adds in one layer alone (darker: more), weights " +
                       WeightsText(weights.kind)) +
            SensitivityTable(weights);
  }
  if (const std::vector<HeatRow> maps = MapRows(marked); !maps.empty()) {
    html += Figure(maps, "Bits by layer of the frontier\u2019s per-layer configs (darker: more)");
  }
  return html.empty() ? "" : "<h3>Layer by layer</h3>\n" + html;
}

}  // namespace kvpareto::tune
