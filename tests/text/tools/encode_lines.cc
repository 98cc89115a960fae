// Encodes and decodes lines with a model's tokenizer.
//
// usage: encode_lines MODEL [--parse-special] [--add-bos] [--decode]
//
// Reads one JSON string per line from standard input and writes one JSON list of token ids per
// line; with --decode, the other way round (bytes that are not UTF-8 replaced, through
// StreamDecoder).
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "engine/model/model_source.h"
#include "engine/text/tokenizer.h"

namespace kvpareto {
namespace {

struct Arguments {
  std::string model;
  Tokenizer::EncodeOptions encode;
  bool decode = false;
};

Arguments ParseArguments(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--parse-special") {
      arguments.encode.parse_special = true;
    } else if (argument == "--add-bos") {
      arguments.encode.add_bos = true;
    } else if (argument == "--decode") {
      arguments.decode = true;
    } else {
      arguments.model = argument;
    }
  }
  return arguments;
}

std::string DecodeStream(const Tokenizer& tokenizer, const std::vector<int32_t>& tokens) {
  StreamDecoder decoder(&tokenizer);
  std::string text;
  for (const int32_t token : tokens) text += decoder.Push(token);
  return text + decoder.Flush();
}

int Run(const Arguments& arguments) {
  auto source = OpenModel(arguments.model);
  if (!source.ok()) {
    std::cerr << source.status() << "\n";
    return 1;
  }
  const auto tokenizer = Tokenizer::Create((*source)->tokenizer());
  if (!tokenizer.ok()) {
    std::cerr << tokenizer.status() << "\n";
    return 1;
  }
  for (std::string line; std::getline(std::cin, line);) {
    const nlohmann::json input = nlohmann::json::parse(line);
    nlohmann::json output;
    if (arguments.decode) {
      output = DecodeStream(**tokenizer, input.get<std::vector<int32_t>>());
    } else {
      const auto ids = (*tokenizer)->Encode(input.get<std::string>(), arguments.encode);
      if (!ids.ok()) {
        std::cerr << ids.status() << "\n";
        return 1;
      }
      output = *ids;
    }
    std::cout << output.dump() << "\n";
  }
  return 0;
}

}  // namespace
}  // namespace kvpareto

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: encode_lines MODEL [--parse-special] [--add-bos] [--decode]\n";
    return 2;
  }
  return kvpareto::Run(kvpareto::ParseArguments(argc, argv));
}
