// A client's connection: its requests one after the other, answered here or passed on.

#ifndef MAINSPRING_SRC_FRONT_CONNECTION_H_
#define MAINSPRING_SRC_FRONT_CONNECTION_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "exchange.h"
#include "loop.h"
#include "refusal.h"
#include "spans.h"

namespace mainspring::front {

// A body that is collected for an answer of our own. The tensor behind the JSON part lies where a kernel can
// read it.
class CollectedBody {
 public:
  explicit CollectedBody(std::atomic<std::size_t>* held) : held_(held) {}
  ~CollectedBody() { Clear(); }
  CollectedBody(const CollectedBody&) = delete;
  CollectedBody& operator=(const CollectedBody&) = delete;

  // Room for `size` bytes whose byte `aligned` lies on 64. False: others hold so much that it is above
  // `limit`.
  bool Begin(std::size_t size, std::size_t aligned, std::size_t limit);
  void Clear();

  char* end() { return begin_ + filled_; }
  std::size_t missing() const { return size_ - filled_; }
  void Fill(std::size_t n) { filled_ += n; }
  std::string_view view() const { return {begin_, filled_}; }

 private:
  std::atomic<std::size_t>* const held_;
  std::unique_ptr<char[]> memory_;
  char* begin_ = nullptr;
  std::size_t size_ = 0, filled_ = 0, counted_ = 0;
};

class Connection final : public Client {
 public:
  // Owns `fd`; `peer` is the client's address in words.
  Connection(Loop* loop, int fd, std::string peer);
  ~Connection() override;

  bool Open();
  void OnEvents(std::uint32_t events) override;
  void Abort() override;
  void Resume() override;
  void OnSweep() override;
  void OnStop() override;
  void Close() override;

  // ---- for the exchange

  std::string* out() { return &out_; }
  bool has_room() const { return out_.size() - sent_ < kMaxWaiting; }
  // Sends what was put into out().
  void Flush();
  // The answer is whole. `is_reusable`: what is left of the exchange can take another request.
  void OnAnswered(bool is_reusable);
  // The app failed; a part of the answer may have gone out.
  void OnUpstreamFailed(const Refusal& refusal);
  // Whether the connection ends with this answer.
  bool closes() const { return closes_; }
  void CloseAfterAnswer() { closes_ = true; }
  // The request's body, or what came after it, can go on.
  bool has_waiting_body() const { return state_ == State::kPass && !in_.empty(); }
  void Update();

 private:
  enum class State { kHead, kBody, kPass, kLinger, kClosed };
  enum class Wait { kNone, kIdle, kHead, kBody, kAnswer, kWrite, kLinger };

  void Read();
  void ReadBody();
  void Consume(std::string_view bytes);
  bool ConsumeHead(std::string_view* bytes, std::size_t* n_requests);
  void Route(const RequestHead& head, std::string_view head_bytes, std::string_view* rest);
  bool Collect(const RequestHead& head, const AskedHead& asked, std::string_view head_bytes,
               std::string_view* rest);
  bool AnswerHere(const Answering& answering, const Callers& callers, const AskedHead& asked,
                  std::string_view body);
  // Whether it matters who asks, though nobody is limited.
  bool IsTold(const Answering& answering) const;
  void Collected();
  void Pass(const RequestHead& head, std::string_view* body, bool is_whole);
  void NoteRequest(const RequestHead& head);
  void Refuse(const Refusal& refusal);
  void DropExchange();
  void Linger();
  void Await();

  Loop* const loop_;
  const int fd_;
  const std::string peer_;
  State state_ = State::kHead;
  Wait wait_ = Wait::kNone;
  std::int64_t deadline_ms_ = 0;
  std::uint32_t watched_ = 0;

  std::string in_;  // read and not yet understood
  std::size_t seen_ = 0;
  std::string out_;
  std::size_t sent_ = 0;
  bool is_end_ = false;   // the client sends no more
  bool closes_ = false;   // after what is in out_
  bool lingers_ = false;  // the client may still be sending when we close

  // Of the request at hand.
  bool is_v2_ = false, is_head_method_ = false, sends_id_ = false;
  std::string request_id_;
  std::string held_head_;
  std::int64_t arrived_ms_ = 0;
  Tracing tracing_;
  CollectedBody body_;
  std::unique_ptr<Exchange> exchange_;
};

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_CONNECTION_H_
