// Text for HTML: everything that comes from a file goes through Escape.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kvpareto::tune {

// For element content and quoted attributes. Control characters and what is not UTF-8 become
// U+FFFD.
std::string Escape(std::string_view text);

// "1.23 GiB", "45.6 MiB", "780 KiB".
std::string ByteText(double bytes);
// `share` of 1 as "12.3%"; with a sign: "+0.4%", "−1.2%".
std::string PercentText(double share, int digits = 1);
std::string SignedPercentText(double share, int digits = 1);
// With `digits` behind the point.
std::string FixedText(double value, int digits);
// With `digits` significant digits, as short as that: "0.0123", "4.5".
std::string ShortText(double value, int digits = 3);
// "10,000".
std::string CountText(int64_t count);

struct TableCell {
  std::string html;  // escaped by the caller
  bool number = false;
};
struct TableRow {
  std::vector<TableCell> cells;
  std::string css_class;
  std::string id;  // of the point that shows the same row; empty: none
};
// A table that may be wider than the page. The first cell of every row names it. Headers and
// caption are escaped here.
std::string TableHtml(const std::string& caption, const std::vector<std::string>& headers,
                      const std::vector<TableRow>& rows);

}  // namespace kvpareto::tune
