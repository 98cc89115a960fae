// kvpareto memory: a live view of KV memory.
#include <cmath>
#include <ostream>

#include "clients/cli/commands.h"
#include "clients/cli/errors.h"
#include "clients/cli/interrupt.h"
#include "clients/cli/memory_text.h"
#include "clients/cli/session.h"
#include "kvpareto/v1/memory.grpc.pb.h"

namespace kvpareto::cli {
namespace {

// Cursor to the top left, and everything from there on cleared.
constexpr const char* kHome = "\x1b[H\x1b[J";
constexpr const char* kClear = "\x1b[2J";

grpc::Status Once(const Session& session, Console& console) {
  v1::GetMemoryRequest request;
  request.set_model(session.model);
  v1::GetMemoryResponse response;
  grpc::ClientContext context;
  session.Prepare(&context);
  const CancelOnInterrupt cancel(&context);
  const grpc::Status status =
      session.Stub<v1::MemoryService>()->GetMemory(&context, request, &response);
  if (status.ok()) console.out << DescribeMemory(response.memory(), console.unicode);
  return status;
}

grpc::Status Watch(const Session& session, double interval_seconds, Console& console) {
  v1::WatchMemoryRequest request;
  request.set_model(session.model);
  const double whole = std::floor(interval_seconds);
  request.mutable_interval()->set_seconds(static_cast<int64_t>(whole));
  request.mutable_interval()->set_nanos(static_cast<int32_t>((interval_seconds - whole) * 1e9));
  const auto stub = session.Stub<v1::MemoryService>();
  grpc::ClientContext context;
  session.Prepare(&context);
  const CancelOnInterrupt cancel(&context);
  const auto reader = stub->WatchMemory(&context, request);
  if (console.output_is_terminal) console.out << kClear;
  v1::WatchMemoryResponse response;
  while (reader->Read(&response)) {
    if (console.output_is_terminal) console.out << kHome;
    console.out << DescribeMemory(response.memory(), console.unicode) << std::flush;
    if (!console.out.good()) context.TryCancel();  // nobody reads any more
  }
  const grpc::Status status = reader->Finish();
  // Ctrl-C is how one leaves a live view.
  return Interrupted() ? grpc::Status::OK : status;
}

grpc::Status Run(const Args& args, Console& console) {
  const absl::StatusOr<Session> session = Session::Open(args);
  if (!session.ok()) return ToGrpc(session.status());
  double interval_seconds = 1.0;
  if (absl::Status status = args.Read("interval", &interval_seconds); !status.ok()) {
    return ToGrpc(status);
  }
  if (!(interval_seconds >= 0.1 && interval_seconds <= 3600.0)) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "--interval: expected 0.1 to 3600");
  }
  if (args.Has("once")) return Once(*session, console);
  return Watch(*session, interval_seconds, console);
}

}  // namespace

Command MemoryCommand() {
  return {.name = "memory",
          .summary = "watch KV memory by config (Ctrl-C ends)",
          .usage = "[FLAGS]",
          .flags = {{"interval", "SECONDS", "between samples, 0.1 to 3600 (default 1)"},
                    {"once", "", "one sample"}},
          .run = Run};
}

}  // namespace kvpareto::cli
