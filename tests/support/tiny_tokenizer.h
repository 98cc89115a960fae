// Small tokenizers that encode any text.
#pragma once

#include <string>

#include "engine/text/tokenizer_spec.h"

namespace kvpareto::support {

// Ids every tiny tokenizer shares.
inline constexpr int kEndOfText = 0;  // "<|endoftext|>" or "<unk>"
inline constexpr int kImStart = 1;    // "<|im_start|>" or "<s>"
inline constexpr int kImEnd = 2;      // "<|im_end|>" or "</s>"
inline constexpr int kFirstByte = 3;  // then the 256 bytes

// The smallest vocabulary that MakeTiny...Tokenizer fills.
inline constexpr int kTinyVocab = 320;

// ChatML specials, the 256 bytes in GPT-2's alphabet, tokens of some merges of English text, then
// unused "[PADn]" entries up to `vocab` (>= kTinyVocab).
TokenizerSpec MakeByteLevelTokenizer(TokenizerSpec::PreTokenizer pre_tokenizer, int vocab);

// Llama-2's kind: <unk>, <s>, </s>, bytes <0x00>.., then characters and pieces with scores.
TokenizerSpec MakeSentencePieceTokenizer(int vocab);

// ChatML for the tokenizers above.
const std::string& ChatMlTemplate();

// GPT-2's printable stand-in for a byte, in UTF-8.
std::string ByteToken(int byte);

}  // namespace kvpareto::support
