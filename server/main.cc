// kvpareto-server --config=server.yaml
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <string>
#include <thread>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/strings/match.h"
#include "server/config.h"
#include "server/log.h"
#include "server/notify.h"
#include "server/server.h"

ABSL_FLAG(std::string, config, "", "Configuration file; deploy/server.example.yaml explains it.");
ABSL_FLAG(bool, check, false, "Check the configuration file and exit.");

namespace kvpareto::server {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitBadConfig = 2;

// Signals are blocked in every thread (so this comes before the first one starts) and taken by
// sigwait.
sigset_t BlockSignals() {
  signal(SIGPIPE, SIG_IGN);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

// The next signal that ends the process; each SIGHUP before it calls `reload`.
std::string WaitForSignal(const sigset_t& signals, const std::function<void()>& reload) {
  int number = SIGHUP;
  while (number == SIGHUP) {
    sigwait(&signals, &number);
    if (number == SIGHUP) reload();
  }
  return number == SIGINT ? "SIGINT" : "SIGTERM";
}

int Fail(const std::string& event, const absl::Status& status, int exit_code) {
  LogError(event, {{"error", std::string(status.message())}});
  return exit_code;
}

// What the file says of the log now; nothing else of it takes effect in a running server.
void ReloadLog(const std::string& config_path) {
  const absl::StatusOr<ServerConfig> config = LoadServerConfig(config_path);
  if (!config.ok()) {
    LogError("configuration not reloaded", {{"error", std::string(config.status().message())}});
    return;
  }
  SetLogOptions(config->log);
  LogInfo("log options reloaded");
}

int Run(const std::string& config_path) {
  const sigset_t signals = BlockSignals();
  const absl::StatusOr<ServerConfig> config = LoadServerConfig(config_path);
  if (!config.ok()) return Fail("bad configuration", config.status(), kExitBadConfig);
  if (absl::GetFlag(FLAGS_check)) return EXIT_SUCCESS;
  SetLogOptions(config->log);
  SilenceProtobufLog();

  absl::StatusOr<std::unique_ptr<Models>> models = Models::Load(*config);
  if (!models.ok()) return Fail("cannot load", models.status(), kExitFailure);
  std::atomic<bool> failed = false;
  const auto stop_failed = [&failed] {
    failed = true;
    kill(getpid(), SIGTERM);
  };
  absl::StatusOr<std::unique_ptr<Server>> server =
      Server::Start(*config, *std::move(models), stop_failed);
  if (!server.ok()) return Fail("cannot serve", server.status(), kExitFailure);

  NotifyServiceManager("READY=1");
  const auto reload = [&] {
    ReloadLog(config_path);
    (*server)->ReloadSlo().IgnoreError();  // it is logged
  };
  const std::string signal = WaitForSignal(signals, reload);
  LogInfo("stopping", {{"why", failed ? "an engine failed" : signal}});
  NotifyServiceManager("STOPPING=1");
  // A second signal ends the process the hard way.
  std::thread([signals] {
    LogWarning("killed", {{"signal", WaitForSignal(signals, [] {})}});
    std::_Exit(kExitFailure);
  }).detach();
  (*server)->DrainAndShutdown(std::chrono::steady_clock::now() + config->drain_timeout);
  return failed ? kExitFailure : EXIT_SUCCESS;
}

// --help shows the flags of this file, and --version what it says.
void DescribeProgram() {
  absl::SetProgramUsageMessage(
      "Serves language models over gRPC.\n  kvpareto-server --config=FILE");
  absl::FlagsUsageConfig usage;
  usage.contains_help_flags = [](absl::string_view file) {
    return absl::EndsWith(file, "server/main.cc");
  };
  usage.version_string = [] { return std::string("kvpareto-server " KVPARETO_VERSION "\n"); };
  absl::SetFlagsUsageConfig(usage);
}

}  // namespace
}  // namespace kvpareto::server

int main(int argc, char** argv) {
  kvpareto::server::DescribeProgram();
  const std::vector<char*> rest = absl::ParseCommandLine(argc, argv);
  const std::string config = absl::GetFlag(FLAGS_config);
  if (config.empty() || rest.size() > 1) {
    std::cerr << "usage: kvpareto-server --config=FILE [--check]\n";
    return 2;
  }
  return kvpareto::server::Run(config);
}
