// kvpareto slo: memory SLOs, checked offline or taken over by a server.
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <ostream>
#include <string>
#include <vector>

#include "clients/cli/commands.h"
#include "clients/cli/errors.h"
#include "clients/cli/session.h"
#include "kvpareto/v1/admin.grpc.pb.h"

namespace kvpareto::cli {
namespace {

constexpr char kSimulator[] = "kvpareto-sim";

grpc::Status Reload(const Args& args, Console& console) {
  const absl::StatusOr<Session> session = Session::Open(args);
  if (!session.ok()) return ToGrpc(session.status());
  v1::ReloadSloResponse response;
  grpc::ClientContext context;
  session->Prepare(&context);
  const grpc::Status status =
      session->Stub<v1::AdminService>()->ReloadSlo(&context, v1::ReloadSloRequest(), &response);
  if (!status.ok()) return status;
  console.out << "in force: " << response.content_hash() << "\n";
  return grpc::Status::OK;
}

// The simulator knows tables, shapes and the rules of admission, this program only the API: so it
// is asked in this one's place, from this program's folder or the path.
grpc::Status Check(const Args& args) {
  std::vector<std::string> words = {kSimulator, "slo", "check", args.words()[1]};
  for (const char* flag : {"table", "shape", "capacity"}) {
    if (args.Has(flag)) words.push_back(std::string("--") + flag + "=" + args.Text(flag));
  }
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::error_code ignored;
  const auto own = std::filesystem::read_symlink("/proc/self/exe", ignored);
  execv((own.parent_path() / kSimulator).c_str(), argv.data());
  execvp(kSimulator, argv.data());
  return {grpc::StatusCode::NOT_FOUND,
          std::string("cannot run ") + kSimulator + ": " + std::strerror(errno)};
}

grpc::Status Run(const Args& args, Console& console) {
  const std::vector<std::string>& words = args.words();
  if (words.size() == 1 && words[0] == "reload") return Reload(args, console);
  if (words.size() == 2 && words[0] == "check") return Check(args);
  return {grpc::StatusCode::INVALID_ARGUMENT, "usage: kvpareto slo reload | slo check FILE"};
}

}  // namespace

Command SloCommand() {
  return {.name = "slo",
          .summary = "check a file of memory SLOs, or have the server read its own again",
          .usage = "check FILE [FLAGS] | reload",
          .flags = {{"table", "FILE", "check: the model's Pareto table, to see what fits"},
                    {"shape", "NAME", "check: the model's shape (kvpareto-sim --help)"},
                    {"capacity", "SIZE", "check: the model's KV memory"}},
          .run = Run};
}

}  // namespace kvpareto::cli
