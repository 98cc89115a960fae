#include "engine/text/byte_alphabet.h"

#include <array>

#include "engine/text/utf8.h"

namespace kvpareto {
namespace {

constexpr bool StandsForItself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) ||
         (byte >= 0xAE && byte <= 0xFF);
}

struct Tables {
  std::array<std::string, 256> characters;
  std::array<int16_t, 512> bytes;  // by code point; -1: not of the alphabet
};

const Tables& GetTables() {
  static const Tables tables = [] {
    Tables t;
    t.bytes.fill(-1);
    char32_t next = 0x100;  // the other bytes take the code points from U+0100 on, in order
    for (int byte = 0; byte < 256; ++byte) {
      const char32_t code_point = StandsForItself(byte) ? static_cast<char32_t>(byte) : next++;
      AppendUtf8(code_point, t.characters[byte]);
      t.bytes[code_point] = static_cast<int16_t>(byte);
    }
    return t;
  }();
  return tables;
}

}  // namespace

std::string_view ByteToAlphabet(uint8_t byte) { return GetTables().characters[byte]; }

std::string BytesToAlphabet(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() + bytes.size() / 4);
  for (const char c : bytes) out += ByteToAlphabet(static_cast<uint8_t>(c));
  return out;
}

std::optional<std::string> AlphabetToBytes(std::string_view text) {
  const Tables& tables = GetTables();
  std::string out;
  while (!text.empty()) {
    const Utf8Step step = NextUtf8(text);
    if (step.kind != Utf8Step::Kind::kCharacter || step.code_point >= tables.bytes.size() ||
        tables.bytes[step.code_point] < 0) {
      return std::nullopt;
    }
    out += static_cast<char>(tables.bytes[step.code_point]);
    text.remove_prefix(step.bytes);
  }
  return out;
}

}  // namespace kvpareto
