#include "server/listen_address.h"

#include <gtest/gtest.h>

namespace kvpareto::server {
namespace {

TEST(ListenAddress, Parses) {
  EXPECT_EQ(ParseHostPort("127.0.0.1:80")->host, "127.0.0.1");
  EXPECT_EQ(ParseHostPort("[::1]:65535")->host, "::1");
  EXPECT_EQ(ParseHostPort("[::1]:65535")->port, 65535);
  EXPECT_EQ(ParseHostPort("localhost:0")->port, 0);
  for (const char* bad : {"", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "a:-1", "a:1x",
                          "::1:80", "[]:80"}) {
    EXPECT_FALSE(ParseHostPort(bad).ok()) << bad;
  }
}

TEST(ListenAddress, KnowsLoopback) {
  for (const char* address : {"127.0.0.1:1", "127.9.8.7:1", "[::1]:1", "localhost:1", "unix:/x"}) {
    EXPECT_TRUE(IsLoopback(address)) << address;
  }
  // What is not understood is not trusted.
  for (const char* address : {"0.0.0.0:1", "[::]:1", "128.0.0.1:1", "10.0.0.1:1", "host:1", "x",
                              "127.0.0.1.example:1", "dns:127.0.0.1:1", "[::ffff:127.0.0.1]:1"}) {
    EXPECT_FALSE(IsLoopback(address)) << address;
  }
}

}  // namespace
}  // namespace kvpareto::server
