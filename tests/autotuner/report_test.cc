#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "autotuner/report/html.h"
#include "autotuner/report/plot_axis.h"
#include "autotuner/report/report_page.h"
#include "gmock/gmock.h"

namespace kvpareto::tune {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

constexpr double kMiB = 1048576.0;
// Every place a file's string could break out of.
const std::string kHostile = "\"><script>alert(1)</script><b a='\xFF\x01&";
const std::string kHostileJson = "\"><script>alert(1)</script><b a='\u0001&";  // JSON is UTF-8

json Row(const std::string& name, const std::string& group, double kv, double disagreement) {
  const json interval = {{"value", -disagreement}, {"low", -2 * disagreement}, {"high", 0.0}};
  json row = {{"name", name},
              {"config", "k=int4-channel v=int4-token sink=16 recent=0 chunk=256"},
              {"group", group},
              {"techniques", {"sink"}},
              {"stage", "final"},
              {"failure", ""},
              {"memory", json::array()},
              {"accuracy", json::array()},
              {"speed",
               {{"prefill_tokens_per_second", 900.0},
                {"decode_tokens_per_second", 40.0 - kv},
                {"context_tokens", 2048}}},
              {"measured_memory",
               {{"context_tokens", 2048},
                {"predicted_peak_bytes", 1234567},
                {"measured_peak_bytes", 1234560}}},
              {"tasks",
               {{{"task", "qa"},
                 {"context", 4096},
                 {"score", 0.5},
                 {"reference", 0.51},
                 {"difference", interval},
                 {"relative", interval},
                 {"items", 20},
                 {"changed", 2}}}},
              {"score",
               {{"score", 0.5},
                {"reference", 0.51},
                {"difference", interval},
                {"relative", interval},
                {"items", 20},
                {"changed", 2}}},
              {"frontier", json::array()}};
  for (const int tokens : {10000, 32768}) {
    row["memory"].push_back({{"tokens", tokens},
                             {"weights_bytes", 100 * kMiB},
                             {"kv_bytes", kv * kMiB},
                             {"kv_bits_per_element", kv / 2},
                             {"workspace_bytes", kMiB},
                             {"total_bytes", (101 + kv) * kMiB},
                             {"reduction_eager", 0.7},
                             {"reduction_flash", 0.6}});
  }
  for (const int context : {1024, 4096}) {
    row["accuracy"].push_back({{"max_context_tokens", context},
                               {"accuracy", 1.0 - disagreement},
                               {"accuracy_low", 1.0 - 1.5 * disagreement},
                               {"kl_mean", disagreement / 10},
                               {"kl_p99", disagreement},
                               {"perplexity_ratio", 1.001},
                               {"samples", 1000}});
  }
  return row;
}

json Results() {
  json model = {
      {"name", "tiny"}, {"full_name", "Tiny Model"}, {"layers", 2},           {"kv_heads", 2},
      {"head_dim", 64}, {"parameters", 1000},        {"tasks", json::array()}};
  model["baselines"] = {{{"tokens", 10000},
                         {"weights_bytes", 200 * kMiB},
                         {"kv_bytes", 32 * kMiB},
                         {"scores_bytes", 500 * kMiB},
                         {"eager_bytes", 732 * kMiB},
                         {"flash_bytes", 232 * kMiB}}};
  json rows = {Row("bf16", "reference", 32, 0.0), Row("best-four", "ours", 9, 0.004),
               Row("best-two", "ours", 5, 0.03), Row("dominated", "ours", 12, 0.02),
               Row("paper-k4v4", "paper", 9.5, 0.05)};
  rows[1]["frontier"] = {1024, 4096};
  rows[2]["frontier"] = {4096};
  rows[2]["techniques"] = {"sink", "rotation"};
  rows[3]["techniques"] = {"sink", "rotation", "recent"};
  rows[2]["layers"] = {{{"k", "int2-channel"}, {"v", "int2-token"}},
                       {{"k", "bf16"}, {"v", "int4-token"}}};
  model["weights"] = {{{"kind", "as-is"},
                       {"file", "tiny.gguf"},
                       {"fingerprint", "abc"},
                       {"bytes", 100 * kMiB},
                       {"rows", rows},
                       {"layer_sensitivity",
                        {{{"layer", 0}, {"k", {{"int2-channel", 0.2}}}, {"v", {{"int4", 0.01}}}},
                         {{"layer", 1}, {"k", {{"int2-channel", 0.4}}}, {"v", {{"int4", 0.0}}}}}}}};
  return {{"schema_version", 1},
          {"tool_version", "0.1"},
          {"command", "kvpareto-tune run tiny.yaml"},
          {"date", "2026-01-01"},
          {"machine", "a machine"},
          {"complete", true},
          {"contexts", {1024, 4096}},
          {"memory_tokens", {10000, 32768}},
          {"models", {model}}};
}

std::string Html(const json& results) {
  const auto html = HtmlReport(results.dump());
  EXPECT_TRUE(html.ok()) << html.status();
  return html.ok() ? *html : "";
}

// Tags that must be closed are closed, in order.
void ExpectNested(const std::string& html) {
  const std::set<std::string> kVoid = {"meta", "!doctype", "br"};
  std::vector<std::string> open;
  const size_t script = html.find("<script>"), script_end = html.find("</script>");
  const std::regex tag("<(/?)([a-z!0-9]+)[^>]*?(/?)>", std::regex::icase);
  for (std::sregex_iterator it(html.begin(), html.end(), tag), end; it != end; ++it) {
    const auto at = static_cast<size_t>(it->position());
    if (at > script && at < script_end) continue;
    const std::string name = (*it)[2].str();
    if (kVoid.contains(name) || (*it)[3].length() > 0) continue;
    if ((*it)[1].length() == 0) {
      open.push_back(name);
    } else {
      ASSERT_FALSE(open.empty()) << it->str();
      ASSERT_EQ(open.back(), name) << "at " << html.substr(at > 80 ? at - 80 : 0, 160);
      open.pop_back();
    }
  }
  EXPECT_TRUE(open.empty());
}

TEST(ReportTest, HoldsEveryRowOfTheFrontierInTablesAndPlots) {
  const std::string html = Html(Results());
  ExpectNested(html);
  const json results = Results();
  for (const json& row : results["models"][0]["weights"][0]["rows"]) {
    EXPECT_THAT(html, HasSubstr("<summary>" + row["name"].get<std::string>() + "</summary>"));
    EXPECT_THAT(html, HasSubstr("<title>" + row["name"].get<std::string>() + "\nk=int4-channel"));
  }
  for (const char* part :
       {"contexts up to 1,024 tokens", "contexts up to 4,096 tokens", "Decode speed",
        "Task score, all tasks", "Less than eager", "What each technique contributes",
        "Bits by layer", "that a codec adds in one layer alone", "recent + rotation + sink",
        "kvpareto-tune run tiny.yaml", "1,234,567 / 1,234,560 B at 2,048",
        "the paper\u2019s formats"}) {
    EXPECT_THAT(html, HasSubstr(part));
  }
  EXPECT_THAT(html, HasSubstr(">1</text>"));  // the marks of our frontier, by memory
  EXPECT_THAT(html, HasSubstr(">2</text>"));
  EXPECT_THAT(html, HasSubstr(">A</text>"));
  EXPECT_THAT(html, Not(HasSubstr("has not finished")));
}

TEST(ReportTest, NeedsNothingElse) {
  const std::string html = Html(Results());
  for (const char* outside : {"http:", "https:", "src=", "href=", "@import", "url("}) {
    EXPECT_THAT(html, Not(HasSubstr(outside)));
  }
}

TEST(ReportTest, TheSummaryNamesTheLeastMemoryAtEachLoss) {
  const std::string html = Html(Results());
  const std::string table = html.substr(html.find("Least memory at a given loss"));
  const std::string one = table.substr(table.find("at most 1%"), 400);
  EXPECT_THAT(one, HasSubstr("<code>best-four</code>"));
  const std::string three = table.substr(table.find("at most 3%"), 900);
  EXPECT_THAT(three, HasSubstr("<code>best-two</code>"));
  EXPECT_THAT(three, HasSubstr("none"));  // of the paper's
}

// Strings of the results at every place where one is shown.
void MakeHostile(json& value) {
  if (value.is_string()) {
    const std::string text = value.get<std::string>();
    const bool meaning = text == "ours" || text == "paper" || text == "reference" || text.empty() ||
                         text.starts_with("k=");
    value = meaning ? text : text + kHostileJson;
  } else if (value.is_structured()) {
    for (json& member : value) MakeHostile(member);
  }
}

TEST(ReportTest, EscapesAllThatComesFromFiles) {
  json results = Results();
  MakeHostile(results);
  results["models"][0]["weights"][0]["layer_sensitivity"][0]["k"][kHostileJson] = 0.3;
  const std::string html = Html(results);
  ExpectNested(html);
  EXPECT_THAT(html, Not(HasSubstr("<script>alert")));
  EXPECT_THAT(html, Not(HasSubstr("<b a=")));
  EXPECT_THAT(html, HasSubstr("&lt;script&gt;alert(1)&lt;/script&gt;"));
  EXPECT_EQ(Escape(kHostile),
            "&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;b a=&#39;\uFFFD\uFFFD&amp;");
}

TEST(ReportTest, ShowsWhatAStoppedRunHasFound) {
  json results = Results();
  results["complete"] = false;
  json& rows = results["models"][0]["weights"][0]["rows"];
  for (json& row : rows) {
    for (const char* part : {"speed", "tasks", "score", "accuracy"}) row.erase(part);
  }
  EXPECT_THAT(Html(results), HasSubstr("has not finished"));
  results["models"][0].erase("weights");
  ExpectNested(Html(results));
  results["models"] = json::array();
  ExpectNested(Html(results));
  ExpectNested(Html({{"schema_version", 1}}));
}

TEST(ReportTest, NumbersOfAnySizeMakeAPicture) {
  json results = Results();
  json& rows = results["models"][0]["weights"][0]["rows"];
  const double sizes[] = {1e300, -1e300, 0.0, 5e-324, -1.0};
  for (size_t i = 0; i < rows.size(); ++i) {
    for (json& memory : rows[i]["memory"]) {
      memory["kv_bytes"] = memory["total_bytes"] = memory["kv_bits_per_element"] = sizes[i];
    }
    for (json& bucket : rows[i]["accuracy"]) bucket["accuracy"] = bucket["kl_mean"] = sizes[i];
    rows[i]["score"]["relative"]["value"] = sizes[i];
    rows[i]["speed"]["decode_tokens_per_second"] = sizes[i];
  }
  const std::string html = Html(results);
  EXPECT_THAT(html, Not(HasSubstr("\"nan\"")));
  EXPECT_FALSE(std::regex_search(html, std::regex("(x|y|x1|y1|cx|cy|width)=\"-?(nan|inf)")));
}

TEST(ReportTest, SaysWhatIsWrongWithResults) {
  const auto message = [](const std::string& text) {
    const auto html = HtmlReport(text);
    EXPECT_EQ(GetErrorInfo(html.status())->reason, "RESULTS_INVALID");
    return std::string(html.status().message());
  };
  message("");
  message("[]");
  message("{\"schema_version\": \xFF}");
  message(std::string(200000, '['));
  EXPECT_THAT(message("{}"), HasSubstr("schema_version"));
  EXPECT_THAT(message(R"({"schema_version": 2})"), HasSubstr("schema_version"));
  json results = Results();
  results["models"][0]["weights"][0]["rows"][2]["memory"][1]["kv_bytes"] = "many";
  EXPECT_THAT(message(results.dump()),
              HasSubstr("results.models[0].weights[0].rows[2].memory[1].kv_bytes is not a number"));
  results = Results();
  results["models"][0]["weights"] = 3;
  EXPECT_THAT(message(results.dump()), HasSubstr("results.models[0].weights is not a list"));
  results = Results();
  results["contexts"] = {1024, 1e99};
  EXPECT_THAT(message(results.dump()), HasSubstr("results.contexts is not an integer"));
}

TEST(PlotAxisTest, TicksAreRoundAndInside) {
  const auto text = [](double value) { return ShortText(value); };
  for (const auto& values :
       {std::vector<double>{3.0, 117.0}, {0.0012, 0.31}, {-0.05, 0.01}, {7.0}, {}, {-1.0}}) {
    for (const PlotAxis& axis : {LinearAxis(values, "", text), LogAxis(values, "", text)}) {
      EXPECT_LT(axis.low, axis.high);
      EXPECT_LE(axis.ticks.size(), 9);
      for (const PlotTick& tick : axis.ticks) {
        EXPECT_GE(tick.value, axis.low - 1e-9);
        EXPECT_LE(tick.value, axis.high + 1e-9);
      }
    }
  }
  const PlotAxis axis = LogAxis({0.01, 1.0}, "", text);
  EXPECT_NEAR(axis.Share(0.1), 0.5, 1e-9);
  EXPECT_EQ(axis.Share(0.0), 0.0);
}

TEST(HtmlTest, NumbersAreWrittenForPeople) {
  EXPECT_EQ(ByteText(0), "0\u00A0B");
  EXPECT_EQ(ByteText(1536), "1.50\u00A0KiB");
  EXPECT_EQ(ByteText(98.7 * kMiB), "98.7\u00A0MiB");
  EXPECT_EQ(CountText(1234567), "1,234,567");
  EXPECT_EQ(CountText(-999), "-999");
  EXPECT_EQ(SignedPercentText(-0.0123), "\u22121.2%");
  EXPECT_EQ(SignedPercentText(0.0004), "0.0%");
  EXPECT_EQ(SignedPercentText(0.02), "+2.0%");
}

}  // namespace
}  // namespace kvpareto::tune
