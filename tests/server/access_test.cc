#include "server/security/access.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "tests/support/temp_dir.h"

namespace kvpareto::server::security {
namespace {

const std::set<std::string> kClasses = {"default", "batch"};

std::string Hex(const std::string& token) {
  const Sha256 hash = HashOf(token);
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(hash.data()), hash.size()));
}

std::string ReasonOf(const absl::Status& status) {
  return status.ok() ? "OK" : GetErrorInfo(status)->reason;
}

class AccessTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string yaml =
        "identities:\n"
        "- {name: user, token_sha256: [" +
        Hex("one") + ", " + Hex("two") +
        "], classes: [batch, default]}\n"
        "- {name: admin, token_sha256: [" +
        Hex("root") +
        "], admin: true}\n"
        "- {name: machine, certificates: [m.example], classes: [batch]}\n";
    support::WriteBytes(dir_.File("who.yaml"), yaml);
    auto access = Access::Create(dir_.File("who.yaml"), kClasses);
    ASSERT_TRUE(access.ok()) << access.status();
    access_ = *std::move(access);
  }

  absl::StatusOr<Caller> Admit(const std::string& authorization,
                               std::vector<std::string> peer_names = {},
                               Permission permission = Permission::kUse) {
    return access_->Admit({authorization, std::move(peer_names)}, permission);
  }

  support::TempDir dir_;
  std::unique_ptr<Access> access_;
};

TEST(Sha256Test, IsTheStandardsOne) {
  EXPECT_EQ(Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_F(AccessTest, TokensNameIdentities) {
  EXPECT_EQ(Admit("Bearer one")->name(), "user");
  EXPECT_EQ(Admit("bearer two")->name(), "user");
  EXPECT_EQ(Admit("Bearer root")->name(), "admin");
  for (const char* header : {"Bearer onE", "Bearer  one", "Bearer one ", "Bearer on", "Bearer"}) {
    EXPECT_EQ(Admit(header).status().code(), absl::StatusCode::kUnauthenticated) << header;
  }
  EXPECT_EQ(ReasonOf(Admit("Bearer x").status()), "CREDENTIALS_UNKNOWN");
  EXPECT_EQ(ReasonOf(Admit("").status()), "CREDENTIALS_MISSING");
  EXPECT_EQ(ReasonOf(Admit("Basic b25l").status()), "CREDENTIALS_MISSING");
  EXPECT_EQ(ReasonOf(Admit("Bearer " + Hex("one")).status()), "CREDENTIALS_UNKNOWN");
}

TEST_F(AccessTest, CertificatesNameIdentitiesWhereThereIsNoToken) {
  EXPECT_EQ(Admit("", {"other", "m.example"})->name(), "machine");
  EXPECT_EQ(ReasonOf(Admit("", {"m.example.evil"}).status()), "CREDENTIALS_MISSING");
  EXPECT_EQ(ReasonOf(Admit("Bearer x", {"m.example"}).status()), "CREDENTIALS_UNKNOWN");
}

TEST_F(AccessTest, AdminNeedsTheRole) {
  EXPECT_TRUE(Admit("Bearer root", {}, Permission::kAdmin).ok());
  EXPECT_EQ(ReasonOf(Admit("Bearer one", {}, Permission::kAdmin).status()), "ADMIN_REQUIRED");
  EXPECT_EQ(ReasonOf(Admit("", {}, Permission::kAdmin).status()), "CREDENTIALS_MISSING");
}

TEST_F(AccessTest, ClassesAreThoseOfTheIdentity) {
  v1::GenerateRequest request;
  EXPECT_TRUE(Admit("Bearer one")->ResolveClass(&request).ok());
  EXPECT_EQ(request.service_class(), "batch");
  request.set_service_class("default");
  EXPECT_TRUE(Admit("Bearer one")->ResolveClass(&request).ok());
  EXPECT_EQ(ReasonOf(Admit("", {"m.example"})->ResolveClass(&request)), "CLASS_NOT_ALLOWED");
  EXPECT_TRUE(Admit("Bearer root")->ResolveClass(&request).ok());
  EXPECT_EQ(request.service_class(), "default");
}

TEST_F(AccessTest, MetadataNameTheClassOfRequestsThatNameNone) {
  const auto caller =
      access_->Admit({.authorization = "Bearer one", .peer_names = {}, .service_class = "default"},
                     Permission::kUse);
  v1::GenerateRequest request;
  EXPECT_TRUE(caller->ResolveClass(&request).ok());
  EXPECT_EQ(request.service_class(), "default");
  request.set_service_class("batch");
  EXPECT_TRUE(caller->ResolveClass(&request).ok());
  EXPECT_EQ(request.service_class(), "batch");
  const auto other = access_->Admit(
      {.authorization = "Bearer one", .peer_names = {}, .service_class = "gold"}, Permission::kUse);
  request.clear_service_class();
  EXPECT_EQ(ReasonOf(other->ResolveClass(&request)), "CLASS_NOT_ALLOWED");
}

TEST(Access, WithoutAFileEverybodyMayDoEverything) {
  const auto access = Access::Create("", kClasses);
  ASSERT_TRUE(access.ok());
  EXPECT_TRUE((*access)->Admit({}, Permission::kAdmin).ok());
}

TEST(ParseIdentities, NamesWhatIsWrongAndNeverTheSecret) {
  const std::string hash = Hex("x");
  for (const std::string& item :
       {std::string("{name: a}"), "{token_sha256: [" + hash + "]}",
        std::string("{name: a, token_sha256: [plain-secret]}"),
        "{name: a, token_sha256: [" + hash.substr(1) + "]}",
        "{name: a, token_sha256: " + hash + "}",
        "{name: a, token_sha256: [" + hash + "], classes: [nope]}",
        "{name: a, token_sha256: [" + hash + "], admin: yes}",
        "{name: a, token_sha256: [" + hash + "], tokens: [plain-secret]}"}) {
    const auto parsed = ParseIdentities("identities: [" + item + "]", "who.yaml", kClasses);
    EXPECT_EQ(ReasonOf(parsed.status()), "CONFIG_INVALID") << item;
    EXPECT_THAT(std::string(parsed.status().message()), ::testing::HasSubstr("who.yaml:1")) << item;
    EXPECT_THAT(std::string(parsed.status().message()),
                ::testing::Not(::testing::HasSubstr("plain-secret")));
  }
}

}  // namespace
}  // namespace kvpareto::server::security
