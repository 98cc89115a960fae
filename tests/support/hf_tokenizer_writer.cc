#include "tests/support/hf_tokenizer_writer.h"

#include "engine/model/hf_tokenizer_writer.h"
#include "tests/support/temp_dir.h"

namespace kvpareto::support {

void WriteHfTokenizer(const TinyModel& model, bool merges_as_pairs, const std::string& directory) {
  Json json = HfTokenizerJson(model.tokenizer);
  for (Json& merge : json["model"]["merges"]) {
    if (!merges_as_pairs) break;
    const std::string text = merge.get<std::string>();
    const size_t space = text.find(' ', 1);
    merge = Json::array({text.substr(0, space), text.substr(space + 1)});
  }
  WriteBytes(directory + "/tokenizer.json", json.dump());
  WriteBytes(directory + "/tokenizer_config.json",
             HfTokenizerConfig(model.tokenizer, model.eos_tokens, model.chat_template).dump(1));
}

}  // namespace kvpareto::support
