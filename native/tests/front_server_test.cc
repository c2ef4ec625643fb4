// The front under several clients at once, while its models change and it stops. Run it under the sanitizers.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "mainspring/front.h"

namespace mainspring {
namespace {

std::string Request(const std::string& path, const std::string& body) {
  return "POST " + path + " HTTP/1.1\r\nhost: a\r\ncontent-length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

const char* const kBody = R"({"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]})";

std::string Infer() { return Request("/v2/models/m/infer", kBody); }

void SetTimeout(int fd) {
  const timeval limit{10, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

bool SendAll(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t n = send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    data.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

// A whole answer with a Content-Length; "" where the connection ends before it does.
std::string ReadAnswer(int fd, std::string* held) {
  char buffer[4096];
  for (;;) {
    const std::size_t head = held->find("\r\n\r\n");
    const std::size_t field = held->find("content-length: ");
    if (head != std::string::npos && field < head) {
      const std::size_t size = head + 4 + std::strtoul(held->c_str() + field + 16, nullptr, 10);
      if (held->size() >= size) {
        const std::string answer = held->substr(0, size);
        held->erase(0, size);
        return answer;
      }
    }
    const ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n <= 0) return "";
    held->append(buffer, static_cast<std::size_t>(n));
  }
}

// Gives every request's first line back.
class App {
 public:
  App() {
    // Not the test's own folder, whose name may be too long: the path of a socket has 107 bytes.
    char directory[] = "/tmp/front_XXXXXX";
    directory_ = mkdtemp(directory);
    path = directory_ + "/app";
    listener_ = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(listener_, 64), 0);
    accepting_ = std::thread([this] {
      for (int fd = accept(listener_, nullptr, nullptr); fd >= 0; fd = accept(listener_, nullptr, nullptr)) {
        serving_.emplace_back([fd] { Serve(fd); });
      }
    });
  }
  ~App() {
    shutdown(listener_, SHUT_RDWR);
    accepting_.join();
    close(listener_);
    for (std::thread& thread : serving_) thread.join();
    unlink(path.c_str());
    rmdir(directory_.c_str());
  }

  std::string path;

 private:
  static void Serve(int fd) {
    SetTimeout(fd);
    std::string held;
    for (std::string asked = ReadAnswer(fd, &held); !asked.empty(); asked = ReadAnswer(fd, &held)) {
      const std::string line = asked.substr(0, asked.find('\r'));
      if (!SendAll(fd,
                   "HTTP/1.1 200 OK\r\ncontent-length: " + std::to_string(line.size()) + "\r\n\r\n" + line))
        break;
    }
    close(fd);
  }

  std::string directory_;
  int listener_ = -1;
  std::thread accepting_;
  std::vector<std::thread> serving_;
};

// A front on ports of its own; one socket, which two threads would share if there were more.
class FrontServerTest : public testing::Test {
 protected:
  void Start(FrontOptions options, int threads = 2) {
    options.upstream = app_.path;
    options.request_id = "t";
    for (int i = 0; i < threads; ++i) {
      listeners_.push_back(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
      const int yes = 1;
      setsockopt(listeners_[i], SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes);
      address_.sin_family = AF_INET;
      address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      ASSERT_EQ(bind(listeners_[i], reinterpret_cast<sockaddr*>(&address_), sizeof address_), 0);
      socklen_t size = sizeof address_;
      ASSERT_EQ(getsockname(listeners_[i], reinterpret_cast<sockaddr*>(&address_), &size), 0);
    }
    for (int listener : listeners_) ASSERT_EQ(listen(listener, 64), 0);
    ASSERT_TRUE(Front::Start(options, listeners_, &front_).ok());
  }
  ~FrontServerTest() override {
    front_.reset();
    for (int listener : listeners_) close(listener);
  }

  int Connect() const {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    SetTimeout(fd);
    EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address_), sizeof address_), 0);
    return fd;
  }

  static FrontModel Model(const std::string& version, float weight) {
    const float weights[] = {weight, weight};
    MlpSpec spec;
    spec.dense_width = 2;
    spec.layers.push_back({2, 1, weights, nullptr, Activation::kIdentity});
    auto mlp = std::make_shared<Mlp>();
    EXPECT_TRUE(Mlp::Compile(spec, BestTarget(), mlp.get()).ok());
    FrontModel model;
    model.name = "m";
    model.version = version;
    model.input = "x";
    model.output = "y";
    model.is_default = true;
    model.max_rows = 100;
    model.mlp = std::move(mlp);
    return model;
  }

  App app_;
  std::vector<int> listeners_;
  sockaddr_in address_{};
  std::unique_ptr<Front> front_;
};

TEST_F(FrontServerTest, ModelsChangeUnderClientsAndNoAnswerIsMixed) {
  Start({});
  front_->SetModels({Model("1", 1)});
  std::atomic<bool> is_over{false};
  std::atomic<int> wrong{0}, right{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&, i] {
      const int fd = Connect();
      std::string held;
      for (int n = 0; !is_over; ++n) {
        const bool is_passed = n % 5 == i;
        SendAll(fd, is_passed ? Request("/x", "abc") : Infer());
        const std::string answer = ReadAnswer(fd, &held);
        const auto has = [&](const char* text) { return answer.find(text) != std::string::npos; };
        const bool is_right = is_passed ? has("POST /x HTTP/1.1")
                                        : (has(R"("model_version":"1")") && has(R"("data":[3.0])")) ||
                                              (has(R"("model_version":"2")") && has(R"("data":[6.0])"));
        ++(is_right ? right : wrong);
      }
      close(fd);
    });
  }
  // A busy machine lets the clients begin late.
  for (int n = 0; n < 400 || right + wrong == 0; ++n) {
    front_->SetModels({Model(n % 2 == 0 ? "2" : "1", n % 2 == 0 ? 2.0f : 1.0f)});
    (void)front_->Counts();
    (void)front_->ModelCounts();
  }
  is_over = true;
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(right, 0);
}

// Keys, limits and traces change while clients ask: each answer is by the front or, whole, by the app.
TEST_F(FrontServerTest, TheGuardChangesUnderClients) {
  Start({});
  front_->SetModels({Model("1", 1)});
  FrontKey key{"1", "team", {}, true, true, 0};
  // Of "secret", by sha256sum.
  const char* const hex = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
  for (std::size_t i = 0; i < key.secret_sha256.size(); ++i) {
    key.secret_sha256[i] = static_cast<std::uint8_t>(std::stoul(std::string(hex + 2 * i, 2), nullptr, 16));
  }
  auto limits = std::make_shared<Limits>();
  const auto guard = [&](bool knows) {
    return FrontGuard{true, knows ? std::vector<FrontKey>{key} : std::vector<FrontKey>{}, limits};
  };
  front_->SetGuard(guard(true));
  std::atomic<bool> is_over{false};
  std::atomic<int> wrong{0}, here{0}, passed{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&] {
      const int fd = Connect();
      std::string held, asked = Infer();
      asked.insert(asked.find("host"), "x-api-key: msk_1_secret\r\n");
      while (!is_over) {
        SendAll(fd, asked);
        const std::string answer = ReadAnswer(fd, &held);
        const bool is_ours = answer.find(R"("data":[3.0])") != std::string::npos;
        const bool is_theirs = answer.find("POST /v2/models/m/infer HTTP/1.1") != std::string::npos;
        ++(is_ours ? here : is_theirs ? passed : wrong);
      }
      close(fd);
    });
  }
  LimitRule rule;
  rule.requests_per_second = 50'000;
  std::vector<FrontSpan> spans;
  std::uint64_t dropped = 0;
  for (int n = 0; n < 400 || (n < 20'000 && (here == 0 || passed == 0)); ++n) {
    if (n % 4 == 0) front_->SetGuard(guard(n % 8 == 0));
    if (n % 16 == 1) limits->SetRules(n % 32 == 1 ? std::vector<LimitRule>{rule} : std::vector<LimitRule>{});
    front_->SetTraces(n % 2, 100);
    for (FrontSpan& span : front_->DrainSpans(&dropped)) spans.push_back(std::move(span));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  is_over = true;
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(here, 0);
  EXPECT_GT(passed, 0);
  EXPECT_FALSE(spans.empty());
  for (const FrontSpan& span : spans) EXPECT_EQ(span.caller, "team");
}

TEST_F(FrontServerTest, StoppingUnderClientsCutsNoAnswer) {
  Start({});
  front_->SetModels({Model("1", 1)});
  std::atomic<int> cut{0}, whole{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&] {
      const int fd = Connect();
      std::string held;
      std::string answer;
      do {
        SendAll(fd, Infer());
        answer = ReadAnswer(fd, &held);
        ++(answer.empty() ? cut : whole);
      } while (!answer.empty() && answer.find("connection: close") == std::string::npos);
      close(fd);
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  front_->Stop(5);
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(cut, 0);
  EXPECT_GT(whole, 4);
  EXPECT_EQ(front_->Counts().connections, 0u);
  front_->Stop(5);  // again: no change
}

TEST_F(FrontServerTest, NoBytesHurt) {
  FrontOptions options;
  options.body_seconds = options.head_seconds = options.idle_seconds = 0.05;
  options.max_head_bytes = 512;
  Start(options, 1);
  front_->SetModels({Model("1", 1)});
  std::mt19937 random(7);
  const std::string whole[] = {
      Infer(), Request("/x", "abc"),
      "POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"};
  for (int round = 0; round < 1000; ++round) {
    std::string text = whole[random() % 3] + whole[random() % 3];
    for (std::size_t n = random() % 4; n > 0; --n) {
      const std::size_t at = random() % text.size();
      switch (random() % 3) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text.erase(at, 1 + random() % 9);
          break;
        default:
          text.insert(at, 1 + random() % 3, "\r\n :0a"[random() % 6]);
      }
      if (text.empty()) text = "x";
    }
    const int fd = Connect();
    const timeval soon{0, 5000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
    const std::size_t half = random() % text.size();
    SendAll(fd, text.substr(0, half));
    SendAll(fd, text.substr(half));
    if (random() % 2 == 0) shutdown(fd, SHUT_WR);
    if (random() % 4 != 0) {
      char buffer[4096];
      (void)!recv(fd, buffer, sizeof buffer, 0);
    }
    close(fd);
  }
  const int fd = Connect();
  std::string held;
  SendAll(fd, Infer());
  EXPECT_NE(ReadAnswer(fd, &held).find("[3.0]"), std::string::npos);
  close(fd);
}

TEST_F(FrontServerTest, WhatMakesNoSenseIsRefused) {
  std::unique_ptr<Front> front;
  FrontOptions options;
  options.upstream = "/x";
  EXPECT_EQ(Front::Start(options, {}, &front).code, StatusCode::kBadSpec);
  EXPECT_EQ(Front::Start(options, {-1}, &front).code, StatusCode::kIo);
  options.upstream = std::string(200, 'x');
  EXPECT_EQ(Front::Start(options, {0}, &front).code, StatusCode::kBadSpec);
  EXPECT_EQ(front, nullptr);
}

}  // namespace
}  // namespace mainspring
