// A function and a judge behind https: certificates are verified, always.
#include <gtest/gtest.h>
#include <httplib.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <cstdio>
#include <thread>

#include "reward/http_function.h"
#include "reward/judge.h"

namespace fulmen::reward {
namespace {

// A key and a certificate for 127.0.0.1 that it signs itself.
class Identity {
 public:
  Identity() : key_(EVP_EC_gen("P-256")), certificate_(X509_new()) {
    ASN1_INTEGER_set(X509_get_serialNumber(certificate_), 1);
    X509_set_version(certificate_, 2);
    X509_gmtime_adj(X509_getm_notBefore(certificate_), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate_), 3600);
    X509_set_pubkey(certificate_, key_);
    X509_NAME* name = X509_get_subject_name(certificate_);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("fulmen test"), -1, -1,
                               0);
    X509_set_issuer_name(certificate_, name);
    X509_EXTENSION* address = X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, "IP:127.0.0.1");
    X509_add_ext(certificate_, address, -1);
    X509_EXTENSION_free(address);
    X509_sign(certificate_, key_, EVP_sha256());
  }
  ~Identity() {
    X509_free(certificate_);
    EVP_PKEY_free(key_);
  }
  void write(const std::string& file) const {
    std::FILE* f = std::fopen(file.c_str(), "w");
    ASSERT_NE(f, nullptr);
    PEM_write_X509(f, certificate_);
    std::fclose(f);
  }

  EVP_PKEY* key_;
  X509* certificate_;
};

class TlsTest : public testing::Test {
 protected:
  TlsTest()
      : server_(identity_.certificate_, identity_.key_), file_(testing::TempDir() + "/ca." + std::to_string(getpid())) {
    identity_.write(file_);
    server_.Post("/score", [](const httplib::Request&, httplib::Response& r) {
      r.set_content(R"({"verdicts":[{"verdict":"score","score":0.5}]})", "application/json");
    });
    server_.Post("/v1/chat/completions", [](const httplib::Request&, httplib::Response& r) {
      r.set_content(R"({"choices":[{"message":{"content":"Grade: 5"}}]})", "application/json");
    });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    record_.prompt = "q";
    record_.response = record_.ground_truth = "an answer";
  }
  ~TlsTest() override {
    server_.stop();
    thread_.join();
    unsetenv("SSL_CERT_FILE");
    std::remove(file_.c_str());
  }
  std::string url(const std::string& path) const { return "https://127.0.0.1:" + std::to_string(port_) + path; }

  Identity identity_;
  httplib::SSLServer server_;
  std::string file_;
  int port_ = 0;
  std::thread thread_;
  Record record_;
};

TEST_F(TlsTest, AServerThatNobodyVouchesForIsRefused) {
  setenv("SSL_CERT_FILE", "/dev/null", 1);
  const Verdict v = make_http(url("/score"), {.deadline_ms = 10000, .attempts = 1})->score(record_);
  EXPECT_EQ(v.kind, Kind::kError);
  EXPECT_NE(v.detail.find("SSL_CERT_FILE"), std::string::npos) << v.detail;
}

TEST_F(TlsTest, AServerOfANamedAuthorityIsAsked) {
  setenv("SSL_CERT_FILE", file_.c_str(), 1);
  const Verdict v = make_http(url("/score"), {.deadline_ms = 10000, .attempts = 1})->score(record_);
  EXPECT_EQ(v.score, 0.5) << v.detail;
  JudgeOptions judge;
  judge.url = "https://127.0.0.1:" + std::to_string(port_);
  const Verdict graded = make_judge(judge)->score(record_);
  EXPECT_EQ(graded.score, 1) << graded.detail;
}

}  // namespace
}  // namespace fulmen::reward
