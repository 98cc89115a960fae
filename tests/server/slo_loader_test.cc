// SLO files on a server: reading, replacing, refusing, and what metrics say of it.
#include "server/slo_loader.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/server/fake_engine.h"
#include "tests/server/test_server.h"
#include "tests/support/temp_dir.h"

namespace kvpareto::server {
namespace {

using ::testing::HasSubstr;

constexpr char kHalf[] = "schema_version: 1\nmodels:\n  - model: m\n    kv_limit: 50%\n";
constexpr char kQuarter[] = "schema_version: 1\nmodels:\n  - model: m\n    kv_limit: 25%\n";

class SloLoaderTest : public ::testing::Test {
 protected:
  SloLoaderTest() {
    auto engine = std::make_unique<FakeEngine>();
    engine_ = engine.get();
    Models::Map map;
    map.emplace("m", std::move(engine));
    models_ = std::make_unique<Models>(std::move(map), "m");
    loader_ = std::make_unique<SloLoader>(dir_.File("slo.yaml"), models_.get(), &classes_);
  }
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(dir_.File(name)) << text;
  }
  double Limit() const { return std::get<double>(engine_->slo()->kv_limit); }
  void WaitForLimit(double limit) const {
    for (int i = 0; i < 1000 && Limit() != limit; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(Limit(), limit);
  }

  support::TempDir dir_;
  FakeEngine* engine_ = nullptr;
  std::unique_ptr<Models> models_;
  const std::set<std::string> classes_{"default", "gold"};
  std::unique_ptr<SloLoader> loader_;
};

TEST_F(SloLoaderTest, ABadFileLeavesTheOldOneInForce) {
  Write("slo.yaml", kHalf);
  ASSERT_TRUE(loader_->Reload().ok());
  EXPECT_EQ(Limit(), 0.5);
  const std::string hash = loader_->state().content_hash;
  EXPECT_EQ(hash.size(), 16u);
  const std::pair<std::string, std::string> bad[] = {
      {"schema_version: 1\nmodels:\n  - model: other\n", "slo.yaml:3: this server has no model"},
      {std::string(kHalf) + "    classes:\n      - name: silver\n", "class silver is not one of"},
      {"schema_version: 1\nmodels:\n  - model: m\n    kv_limit: 5GiB\n", "slo.yaml:3: kv_limit"},
      {"schema_version: 3\n", "slo.yaml:1"}};
  for (const auto& [text, message] : bad) {
    Write("slo.yaml", text);
    const absl::Status status = loader_->Reload();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }
  std::filesystem::remove(dir_.File("slo.yaml"));
  EXPECT_EQ(loader_->Reload().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Limit(), 0.5);
  EXPECT_EQ(loader_->state().content_hash, hash);
  EXPECT_EQ(loader_->state().reloads_ok, 1u);
  EXPECT_EQ(loader_->state().reloads_failed, 5u);
}

TEST_F(SloLoaderTest, NoticesAFileThatIsWrittenAnew) {
  Write("slo.yaml", kHalf);
  ASSERT_TRUE(loader_->Reload().ok());
  loader_->StartWatching();
  Write("slo.yaml", kQuarter);
  WaitForLimit(0.25);
}

// As Kubernetes mounts a ConfigMap: slo.yaml -> ..data/slo.yaml, ..data -> a folder per version.
TEST_F(SloLoaderTest, NoticesASwappedFolder) {
  std::filesystem::create_directory(dir_.File("v1"));
  std::filesystem::create_directory(dir_.File("v2"));
  Write("v1/slo.yaml", kHalf);
  Write("v2/slo.yaml", kQuarter);
  std::filesystem::create_symlink("v1", dir_.File("..data"));
  std::filesystem::create_symlink("..data/slo.yaml", dir_.File("slo.yaml"));
  ASSERT_TRUE(loader_->Reload().ok());
  EXPECT_EQ(Limit(), 0.5);
  loader_->StartWatching();
  std::filesystem::create_symlink("v2", dir_.File("..data_tmp"));
  std::filesystem::rename(dir_.File("..data_tmp"), dir_.File("..data"));
  WaitForLimit(0.25);
}

TEST_F(SloLoaderTest, WithoutAFileThereIsNothingToReload) {
  SloLoader none("", models_.get(), &classes_);
  EXPECT_EQ(GetErrorInfo(none.Reload())->reason, "SLO_NOT_CONFIGURED");
}

// On a whole server: by RPC, in the metrics, and the class that metadata names.
TEST(SloServerTest, ReloadsByRpcAndCounts) {
  support::TempDir dir;
  std::ofstream(dir.File("slo.yaml")) << kHalf;
  auto engine = std::make_unique<FakeEngine>();
  FakeEngine* fake = engine.get();
  Models::Map map;
  map.emplace("m", std::move(engine));
  ServerConfig config = LoopbackConfig();
  config.slo_path = dir.File("slo.yaml");
  const TestServer server(std::move(map), config);
  EXPECT_EQ(std::get<double>(fake->slo()->kv_limit), 0.5);

  const auto reload = [&](v1::ReloadSloResponse* response) {
    grpc::ClientContext context;
    return server.admin()->ReloadSlo(&context, v1::ReloadSloRequest(), response);
  };
  std::ofstream(dir.File("slo.yaml")) << kQuarter;
  v1::ReloadSloResponse response;
  ASSERT_TRUE(reload(&response).ok());
  EXPECT_EQ(response.content_hash().size(), 16u);
  EXPECT_EQ(std::get<double>(fake->slo()->kv_limit), 0.25);
  std::ofstream(dir.File("slo.yaml")) << "schema_version: 9";
  const grpc::Status refused = reload(&response);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(refused.error_message(), HasSubstr("slo.yaml:1"));
}

TEST(SloServerTest, TakesTheClassFromMetadata) {
  auto engine = std::make_unique<FakeEngine>();
  FakeEngine* fake = engine.get();
  Models::Map map;
  map.emplace("m", std::move(engine));
  const TestServer server(std::move(map));
  const auto class_of = [&](uint64_t number, v1::GenerateRequest request) {
    grpc::ClientContext context;
    context.AddMetadata("x-kvpareto-class", "batch");
    const auto stub = server.inference();
    const auto reader = stub->Generate(&context, request);
    fake->End(number, absl::OkStatus());
    EXPECT_TRUE(ReadAll(reader.get()).status.ok());
    return fake->request(number).service_class;
  };
  v1::GenerateRequest request = TextRequest("x");
  EXPECT_EQ(class_of(1, request), "batch");
  request.set_service_class("default");
  EXPECT_EQ(class_of(2, request), "default");
}

}  // namespace
}  // namespace kvpareto::server
