#include "server/notify.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/support/temp_dir.h"

namespace kvpareto::server {
namespace {

// What a service manager has: a datagram socket with a name.
class Manager {
 public:
  explicit Manager(const std::string& path) : fd_(socket(AF_UNIX, SOCK_DGRAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    EXPECT_EQ(bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    setenv("NOTIFY_SOCKET", path.c_str(), 1);
  }
  ~Manager() {
    unsetenv("NOTIFY_SOCKET");
    close(fd_);
  }
  std::string Receive() {
    char buffer[64];
    const ssize_t size = recv(fd_, buffer, sizeof(buffer), MSG_DONTWAIT);
    return size < 0 ? "nothing" : std::string(buffer, size);
  }

 private:
  const int fd_;
};

TEST(NotifyTest, ReachesTheManager) {
  const support::TempDir dir;
  Manager manager(dir.File("notify"));
  EXPECT_TRUE(NotifyServiceManager("READY=1"));
  EXPECT_EQ(manager.Receive(), "READY=1");
  EXPECT_EQ(manager.Receive(), "nothing");
}

TEST(NotifyTest, IsSilentWithoutAManager) {
  unsetenv("NOTIFY_SOCKET");
  EXPECT_FALSE(NotifyServiceManager("READY=1"));
  for (const std::string& name :
       {std::string("/no/such/socket"), std::string(200, 'x'), std::string()}) {
    setenv("NOTIFY_SOCKET", name.c_str(), 1);
    EXPECT_FALSE(NotifyServiceManager("READY=1")) << name;
  }
  unsetenv("NOTIFY_SOCKET");
}

}  // namespace
}  // namespace kvpareto::server
