// GPT-2's byte alphabet: every byte is written as one printable character, so that byte-level BPE
// vocabularies are text files. Published with GPT-2 (Radford et al. 2019, bytes_to_unicode).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kvpareto {

// The character (UTF-8) that stands for `byte`.
std::string_view ByteToAlphabet(uint8_t byte);

// `bytes` in the alphabet.
std::string BytesToAlphabet(std::string_view bytes);

// The bytes that `text` stands for, or nullopt when a character is not of the alphabet.
std::optional<std::string> AlphabetToBytes(std::string_view text);

}  // namespace kvpareto
