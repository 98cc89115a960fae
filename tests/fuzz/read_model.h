// What is done with a model that opened.
#pragma once

#include <string>

namespace kvpareto::fuzz {

// Opens the model at `path`. If it is one: makes its tokenizer, parses its chat template, and reads
// every row of every tensor.
void OpenAndRead(const std::string& path);

}  // namespace kvpareto::fuzz
