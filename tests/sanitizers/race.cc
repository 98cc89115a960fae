// Two threads add to one number without a lock. TSan must say so.
#include <cstdio>
#include <thread>

namespace {

int tokens = 0;

void CountTokens() {
  for (int i = 0; i < 1000; ++i) ++tokens;
}

}  // namespace

int main() {
  std::thread other(CountTokens);
  CountTokens();
  other.join();
  std::printf("%d tokens\n", tokens);
}
