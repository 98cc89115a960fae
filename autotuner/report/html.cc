#include "autotuner/report/html.h"

#include <utf8proc.h>

#include <array>
#include <cmath>

#include "absl/strings/str_format.h"

namespace kvpareto::tune {
namespace {

constexpr std::string_view kReplacement = "\uFFFD";
constexpr std::string_view kMinus = "\u2212";

std::string_view EntityOf(char c) {
  switch (c) {
    case '&':
      return "&amp;";
    case '<':
      return "&lt;";
    case '>':
      return "&gt;";
    case '"':
      return "&quot;";
    case '\'':
      return "&#39;";
    default:
      return "";
  }
}

bool IsControl(utf8proc_int32_t point) {
  return (point < 0x20 && point != '\n' && point != '\t') || (point >= 0x7F && point < 0xA0);
}

std::string WithMinus(std::string number) {
  if (number.starts_with('-')) number.replace(0, 1, kMinus);
  return number;
}

}  // namespace

std::string Escape(std::string_view text) {
  std::string escaped;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (size_t i = 0; i < text.size();) {
    utf8proc_int32_t point = 0;
    const auto size =
        utf8proc_iterate(bytes + i, static_cast<utf8proc_ssize_t>(text.size() - i), &point);
    const auto taken = static_cast<size_t>(size > 0 ? size : 1);
    const std::string_view entity = EntityOf(text[i]);
    if (size <= 0 || IsControl(point)) {
      escaped += kReplacement;
    } else if (!entity.empty()) {
      escaped += entity;
    } else {
      escaped += text.substr(i, taken);
    }
    i += taken;
  }
  return escaped;
}

std::string ByteText(double bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (std::abs(bytes) >= 1024.0 && unit + 1 < kUnits.size()) {
    bytes /= 1024.0;
    ++unit;
  }
  const int digits = unit == 0 || bytes >= 100.0 ? 0 : bytes >= 10.0 ? 1 : 2;
  return absl::StrFormat("%.*f\u00A0%s", digits, bytes, kUnits[unit]);
}

std::string PercentText(double share, int digits) { return FixedText(100.0 * share, digits) + "%"; }

std::string SignedPercentText(double share, int digits) {
  const std::string text = PercentText(share, digits);
  const bool zero = text.find_first_of("123456789") == std::string::npos;
  if (zero) return PercentText(0.0, digits);
  return share > 0.0 ? "+" + text : text;
}

std::string FixedText(double value, int digits) {
  return WithMinus(absl::StrFormat("%.*f", digits, value));
}

std::string ShortText(double value, int digits) {
  return WithMinus(absl::StrFormat("%.*g", digits, value));
}

std::string CountText(int64_t count) {
  std::string digits = absl::StrFormat("%d", count);
  for (auto at = static_cast<int64_t>(digits.size()) - 3; at > (count < 0 ? 1 : 0); at -= 3) {
    digits.insert(static_cast<size_t>(at), ",");
  }
  return digits;
}

std::string TableHtml(const std::string& caption, const std::vector<std::string>& headers,
                      const std::vector<TableRow>& rows) {
  // A region that scrolls must be reachable by keyboard.
  std::string html = "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"" +
                     Escape(caption) + "\">\n<table>\n<caption>" + Escape(caption) +
                     "</caption>\n<thead><tr>";
  for (size_t i = 0; i < headers.size(); ++i) {
    const bool number =
        !rows.empty() && i < rows.front().cells.size() && rows.front().cells[i].number;
    html += std::string("<th scope=\"col\"") + (number ? " class=\"num\"" : "") + ">" +
            Escape(headers[i]) + "</th>";
  }
  html += "</tr></thead>\n<tbody>\n";
  for (const TableRow& row : rows) {
    html += "<tr";
    if (!row.css_class.empty()) html += " class=\"" + row.css_class + "\"";
    if (!row.id.empty()) html += " data-row=\"" + row.id + "\"";
    html += ">";
    for (size_t i = 0; i < row.cells.size(); ++i) {
      const std::string tag = i == 0 ? "th" : "td";
      html += "<" + tag +
              (i == 0                ? " scope=\"row\""
               : row.cells[i].number ? " class=\"num\""
                                     : "") +
              ">" + row.cells[i].html + "</" + tag + ">";
    }
    html += "</tr>\n";
  }
  return html + "</tbody>\n</table>\n</div>\n";
}

}  // namespace kvpareto::tune
