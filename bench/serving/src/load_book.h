// What a run of the load saw, and its JSON.

#ifndef MAINSPRING_BENCH_LOAD_BOOK_H_
#define MAINSPRING_BENCH_LOAD_BOOK_H_

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

namespace mainspring::load {

struct Book {
  std::uint64_t sent = 0, good = 0, wrong = 0;
  std::uint64_t failed = 0;      // the connection ended, or could not be made, with a request under way
  std::uint64_t left = 0;        // the caller gave up, as it was told to
  std::uint64_t unanswered = 0;  // at the end of the run
  std::map<int, std::uint64_t> statuses;
  std::vector<float> all_ms, right_ms;
  std::string first_wrong;

  // `is_right`: a 200 with one of the bodies that are right.
  void Note(int status, bool is_right, double ms, double in_time_ms, const std::string& body) {
    ++statuses[status];
    all_ms.push_back(static_cast<float>(ms));
    if (status != 200) return;
    if (!is_right) {
      if (!wrong++) first_wrong = body.substr(0, 200);
      return;
    }
    right_ms.push_back(static_cast<float>(ms));
    good += in_time_ms <= 0 || ms <= in_time_ms;
  }

  void Print(double seconds, double cpu_seconds) {
    std::printf("{\"seconds\": %.6f, \"client_cpu_seconds\": %.3f, \"sent\": %llu, \"answers\": %zu", seconds,
                cpu_seconds, static_cast<unsigned long long>(sent), all_ms.size());
    Count("good", good), Count("wrong", wrong), Count("failed", failed), Count("left", left);
    Count("unanswered", unanswered);
    std::printf(", \"statuses\": {");
    const char* comma = "";
    for (const auto& [status, n] : statuses) {
      std::printf("%s\"%d\": %llu", comma, status, static_cast<unsigned long long>(n));
      comma = ", ";
    }
    std::printf("}");
    Shares("", &all_ms);
    Shares("right_", &right_ms);
    std::printf(", \"first_wrong\": \"");
    for (const unsigned char c : first_wrong) {
      if (c < 32 || c > 126 || c == '"' || c == '\\') {
        std::printf("\\u%04x", c);
      } else {
        std::putchar(c);
      }
    }
    std::printf("\"}\n");
  }

 private:
  static void Count(const char* name, std::uint64_t n) {
    std::printf(", \"%s\": %llu", name, static_cast<unsigned long long>(n));
  }
  static void Shares(const char* prefix, std::vector<float>* ms) {
    std::sort(ms->begin(), ms->end());
    for (const auto& [name, share] : {std::pair{"p50", 0.5}, {"p95", 0.95}, {"p99", 0.99}, {"p999", 0.999}}) {
      const auto at = std::min(ms->size(), static_cast<std::size_t>(share * static_cast<double>(ms->size())));
      std::printf(", \"%s%s_ms\": %.4f", prefix, name,
                  ms->empty() ? 0.0 : (*ms)[std::min(at, ms->size() - 1)]);
    }
  }
};

}  // namespace mainspring::load

#endif  // MAINSPRING_BENCH_LOAD_BOOK_H_
