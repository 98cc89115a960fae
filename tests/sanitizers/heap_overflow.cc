// Reads one byte behind a block of the heap. ASan must say so.
#include <cstdio>
#include <vector>

int main(int argc, char**) {
  const std::vector<char> block(64 + argc, 'x');
  std::printf("%c\n", block.data()[block.size()]);
}
