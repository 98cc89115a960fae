#include "engine/text/chat_template.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

namespace kvpareto {
namespace {

std::string ReadText(const std::string& name) {
  std::ifstream file(std::string(KVPARETO_TEXT_TEST_DATA) + "/" + name, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

absl::StatusOr<std::string> Render(const std::string& source,
                                   const std::vector<ChatMessage>& messages = {},
                                   const ChatTemplate::RenderOptions& options = {}) {
  KVP_ASSIGN_OR_RETURN(const auto chat_template, ChatTemplate::Parse(source));
  return chat_template->Render(messages, options);
}

std::string Reason(const absl::Status& status) {
  const auto info = GetErrorInfo(status);
  return info ? info->reason : "";
}

// What Jinja 3.1 makes of the data files and of one snippet per construct of the language
// (tools/verify_chat_template.py --write-golden).
TEST(ChatTemplate, AgreesWithJinja) {
  const auto golden = nlohmann::json::parse(ReadText("chat_golden.json"));
  int rendered = 0, refused = 0;
  for (const auto& test_case : golden) {
    SCOPED_TRACE(test_case.at("name").get<std::string>());
    const std::string source = test_case.contains("template")
                                   ? test_case["template"].get<std::string>()
                                   : ReadText(test_case.at("template_file"));
    std::vector<ChatMessage> messages;
    for (const auto& message : test_case.at("messages")) {
      messages.push_back({message.at("role"), message.at("content")});
    }
    const auto text = Render(source, messages,
                             {.add_generation_prompt = test_case.at("add_generation_prompt"),
                              .bos_token = test_case.at("bos_token"),
                              .eos_token = test_case.at("eos_token")});
    const auto& expected = test_case.at("expected");
    if (!expected.contains("text")) {
      ASSERT_FALSE(text.ok());
      const bool rejected = expected.at("error") == "TemplateError";
      EXPECT_EQ(Reason(text.status()) == "CHAT_TEMPLATE_REJECTED", rejected) << text.status();
      if (rejected) {
        EXPECT_EQ(text.status().message(), expected.at("message").get<std::string>());
      }
    } else if (text.ok()) {
      EXPECT_EQ(*text, expected.at("text").get<std::string>());
      ++rendered;
    } else {
      EXPECT_EQ(text.status().code(), absl::StatusCode::kUnimplemented) << text.status();
      ++refused;
    }
  }
  EXPECT_GT(rendered, 110);
  EXPECT_LE(refused, 10);  // the snippets of constructs that are refused on purpose
}

TEST(ChatTemplate, NamesTheFirstConstructItDoesNotUnderstand) {
  const std::pair<std::string, std::string> cases[] = {
      {"{% include 'x' %}", "tag include"},
      {"a\n{{ x | wordcount }}", "filter wordcount"},
      {"{{ x is foo }}", "test foo"},
      {"{{ x.encode() }}", "method encode()"},
      {"{{ 1.5 }}", "number"},
      {"{{ 1 / 2 }}", "operator /"},
      {"{% set a, b = c %}", "set with several targets"},
      {"{% for x in y recursive %}{% endfor %}", "recursive"},
      {"{{ f(*x) }}", "argument unpacking"},
      {"{% if x %}", "syntax"},
      {"{{ 'x }}", "string without end"},
      {"{{ x", "tag without end"},
      {"{# x", "comment without end"},
      {"{% endif %}", "tag endif"},
      {"{{ x ] }}", "unbalanced"},
      {"{% break %}", "break outside a loop"},
      {"{{ x ? y }}", "character '?'"},
      {"\xff", "UTF-8"},
  };
  for (const auto& [source, construct] : cases) {
    const auto parsed = ChatTemplate::Parse(source);
    ASSERT_FALSE(parsed.ok()) << source;
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kUnimplemented) << source;
    const auto info = GetErrorInfo(parsed.status());
    ASSERT_TRUE(info.has_value());
    EXPECT_EQ(info->reason, "CHAT_TEMPLATE_UNSUPPORTED");
    EXPECT_NE(info->metadata.at("construct").find(construct), std::string::npos)
        << source << " -> " << info->metadata.at("construct");
  }
}

TEST(ChatTemplate, SaysInWhichLine) {
  const auto parsed = ChatTemplate::Parse("a\n\n{{ 'b\nc' }}\n{% nonsense %}");
  EXPECT_NE(parsed.status().message().find("(line 5)"), absl::string_view::npos) << parsed.status();
}

TEST(ChatTemplate, RefusesToReadWhatIsUndefined) {
  for (const char* source :
       {"{{ nothing }}", "{{ messages[0].content }}", "{{ nothing.attr }}", "{{ 'a' ~ nothing }}",
        "{{ 'a' + nothing }}", "{{ nothing < 1 }}", "{{ nothing.strip() }}", "{{ {}.x }}"}) {
    const auto text = Render(source);
    ASSERT_FALSE(text.ok()) << source;
    EXPECT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument) << source;
    EXPECT_EQ(Reason(text.status()), "CHAT_TEMPLATE_FAILED") << text.status();
  }
}

TEST(ChatTemplate, RefusesWrongTypes) {
  for (const char* source :
       {"{{ 1 + 'x' }}", "{{ 'a' < 1 }}", "{{ 1 | length }}", "{{ none.x.y }}",
        "{% for x in 1 %}{% endfor %}", "{{ 1 // 0 }}", "{{ 1 % 0 }}", "{{ 'a'[::0] }}",
        "{{ 'a'.split('') }}", "{{ [1]() }}", "{{ 9223372036854775807 + 1 }}",
        "{{ (-9223372036854775807 - 1) // -1 }}", "{% set x.y = 1 %}",
        "{% for a, b in [1] %}{% endfor %}", "{{ 'a'.startswith() }}",
        "{{ 'a' | replace('b') }}"}) {
    const auto text = Render(source);
    ASSERT_FALSE(text.ok()) << source;
    EXPECT_EQ(Reason(text.status()), "CHAT_TEMPLATE_FAILED") << source << text.status();
  }
}

TEST(ChatTemplate, MarksOfTheAssistantsTextRenderAsTheyStand) {
  EXPECT_EQ(*Render("a{% generation %}b{% set x = 1 %}{% endgeneration %}c"), "abc");
}

TEST(ChatTemplate, InvalidUtf8InAMessageIsAnError) {
  const auto text = Render("{{ messages[0].content }}", {{"user", "\xC3("}});
  EXPECT_EQ(Reason(text.status()), "INVALID_UTF8");
}

TEST(ChatTemplate, WorkAndMemoryAreBounded) {
  for (
      const char* source :
      {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
       "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}"
       "{% endfor %}",
       "{{ 'x' * 99999999999 }}", "{{ ('x' * 9999999).replace('x', 'yyyyyyyy') }}",
       "{% for a in range(99999) %}{{ 'x' * 9999 }}{% endfor %}",
       "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ range(9999999) }}",
       "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}"
       "{% endfor %}",
       "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}"
       "{% endfor %}",
       "{% for i in range(99999) %}{% set x = namespace() %}{% endfor %}",
       "{% set a = ('x' * 9999999) %}{{ [a, a, a, a] | join }}",
       "{% set a = ('x' * 9999999) %}{{ [a, a, a, a] | tojson }}",
       // Small in memory, 2^60 values to walk.
       "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}"
       "{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.a == ns.b }}",
       "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}"
       "{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.a in [ns.b] }}",
       "{% set a = 'x' * 9999999 %}{% set b = 'x' * 9999999 %}{% for i in range(99999) %}"
       "{% if a < b %}{% endif %}{% endfor %}"}) {
    const auto text = Render(source);
    ASSERT_FALSE(text.ok()) << source;
    EXPECT_EQ(Reason(text.status()), "CHAT_TEMPLATE_FAILED") << source << text.status();
  }
}

TEST(ChatTemplate, NamespacesMayReferToEachOther) {
  EXPECT_EQ(*Render("{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = b %}"
                    "{% set a.self = [a] %}{{ a.b.a.b.a == a }}"),
            "True");
}

TEST(ChatTemplate, DeepNestingIsRefusedNotOverflown) {
  const std::string open(100'000, '('), close(100'000, ')');
  std::string not_chain, sum = "1", elifs = "{% if x %}", blocks;
  for (int i = 0; i < 100'000; ++i) {
    not_chain += "not ";
    sum += "+1";
    elifs += "{% elif x %}";
    blocks += "{% if x %}";
  }
  for (const std::string& source :
       {"{{ " + open + "1" + close + " }}", "{{ " + not_chain + "1 }}", "{{ " + sum + " }}", elifs,
        blocks, "{{ x" + std::string(200'000, '.') + " }}"}) {
    const auto parsed = ChatTemplate::Parse(source);
    ASSERT_FALSE(parsed.ok());
    EXPECT_EQ(Reason(parsed.status()), "CHAT_TEMPLATE_UNSUPPORTED");
  }
}

TEST(ChatTemplate, LongConversationsStayWithinTheBounds) {
  std::vector<ChatMessage> messages;
  for (int i = 0; i < 4000; ++i) {
    messages.push_back({i % 2 == 0 ? "user" : "assistant", std::string(500, 'x')});
  }
  for (const char* name : {"chatml.jinja", "llama3.jinja", "mistral.jinja"}) {
    const auto text = Render(ReadText(name), messages);
    ASSERT_TRUE(text.ok()) << name << text.status();
    EXPECT_GT(text->size(), 4000 * 500);
  }
}

}  // namespace
}  // namespace kvpareto
