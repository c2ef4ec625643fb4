// The native front: an HTTP/1.1 server of a few threads, without Python, before the app that serves
// everything; and a gRPC server on a port of its own, before the app's.
//
// It answers the v2 protocol's infer requests for models it holds, predictions of endpoints whose bundles it
// holds, and reads of online features from tables it holds, and passes every other request on, over a Unix
// socket, to the app behind it, streaming bodies both ways. So does it with a request of its own that is
// wrong or unusual: the app words every refusal.

#ifndef MAINSPRING_FRONT_H_
#define MAINSPRING_FRONT_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mainspring/front_predict.h"
#include "mainspring/limits.h"
#include "mainspring/mlp.h"
#include "mainspring/status.h"
#include "mainspring/table.h"
#include "mainspring/trees.h"

namespace mainspring {

struct FrontOptions {
  std::string upstream;    // path of the app's Unix socket
  std::string request_id;  // what the ids made here begin with: plain characters

  std::size_t max_connections = 4096;            // of all threads; more are told to come back
  std::size_t max_pipelined = 64;                // requests of one connection before others have their turn
  std::size_t max_head_bytes = 16 << 10;         // of a request
  std::size_t max_body_bytes = 4 << 20;          // collected for an answer of our own; larger ones stream
  std::size_t max_held_bytes = 256 << 20;        // of such bodies at once; beyond it they stream, too
  double idle_seconds = 75, head_seconds = 10;   // between requests; for a whole head
  double body_seconds = 30, write_seconds = 30;  // without a byte coming, or going
  double answer_seconds = 300;                   // without a byte of the app's

  // ---- gRPC, where there are sockets for it
  std::string grpc_upstream;       // path of the Unix socket of the app's gRPC
  std::size_t max_calls = 1024;    // of one connection at once
  double grpc_idle_seconds = 600;  // of a connection without a call; clients keep theirs
};

// One version of a model: float matrices of `width` in and `n_outputs` out, row by row. One of the two
// pointers.
struct FrontModel {
  std::string name, version;
  std::string input, output;  // the tensors' names
  bool is_default = false;    // answers requests that name no version
  std::size_t max_rows = 0;   // in a request; more is for the app to refuse
  std::shared_ptr<const Mlp> mlp;
  std::shared_ptr<const Forest> forest;
};

// A name for features of some views, as (view, field).
struct FrontService {
  std::string name;
  std::vector<std::pair<std::string, std::string>> features;
};

// What a caller may do: ask models, or read features.
enum class FrontScope { kPredict, kRead };

// An API key that counts: issued, and not revoked. Of its secret only the hash is known.
struct FrontKey {
  std::string id, caller;
  std::array<std::uint8_t, 32> secret_sha256{};
  bool may_predict = false, may_read = false;
  std::int64_t expires_us = 0;  // Unix time; 0: never
  std::string project;          // whom the caller's use is charged to; "": to the bundle's
};

// Who is answered here, and how much of it. Everybody else is the app's to answer or to refuse.
struct FrontGuard {
  bool needs_key = false;  // who shows none is the app's
  std::vector<FrontKey> keys;
  std::shared_ptr<Limits> limits;  // the app takes from the same; nullptr: nobody is limited
};

// A sampled request that was answered here, and what it was made of. Times are Unix nanoseconds, ids
// hexadecimal.
struct FrontSpan {
  struct Part {
    std::string name, span_id;
    std::int64_t start_ns = 0, end_ns = 0;
  };

  std::string trace_id, parent_id, span_id;  // parent_id is "" where no client named one
  std::string path, request_id, caller;
  std::int64_t start_ns = 0, end_ns = 0;
  std::string model, bundle;  // a model's name, a bundle's digest; "": none has a part in it
  std::uint64_t rows = 0;
  std::vector<Part> parts;  // in the order of time

  std::uint64_t n_spans() const { return 1 + parts.size(); }
};

// Upper edges of the histograms, as serving's book has them; the last bucket is open.
inline constexpr std::uint64_t kFrontEdgesNanos[] = {100'000,       250'000,       500'000,       1'000'000,
                                                     2'500'000,     5'000'000,     10'000'000,    25'000'000,
                                                     50'000'000,    100'000'000,   250'000'000,   500'000'000,
                                                     1'000'000'000, 2'500'000'000, 10'000'000'000};
inline constexpr std::uint64_t kFrontRowEdges[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096};
inline constexpr std::size_t kFrontLatencyBuckets = 16, kFrontRowBuckets = 12;

// Of one model's version, or of reads of features, since the front began. Answers only: what was passed on is
// in the app's own book.
struct FrontModelCounts {
  std::string name, version;
  std::uint64_t requests = 0, rows = 0, passed_on = 0, last_ms = 0;
  std::uint64_t input_nanos = 0, infer_nanos = 0, output_nanos = 0;
  std::uint64_t latency[kFrontLatencyBuckets] = {}, row_sizes[kFrontRowBuckets] = {};
};

struct FrontCounts {
  std::uint64_t accepted = 0, answered = 0, passed = 0, refused = 0, timed_out = 0, upstream_failures = 0;
  std::size_t connections = 0, held_bytes = 0;  // now
};

class Front {
 public:
  // `listeners`: sockets that listen, one for each thread; they stay the caller's, who closes them after
  // Stop. kBadSpec for no listener or a path that is too long, kIo where the system gives no epoll or thread.
  // `grpc_listeners`: none, or as many, whose clients speak gRPC; kBadSpec where WhyNoGrpc says anything.
  static Status Start(const FrontOptions& options, const std::vector<int>& listeners,
                      std::unique_ptr<Front>* front, const std::vector<int>& grpc_listeners = {});
  // Why gRPC cannot be answered by this build on this machine; "": it can.
  static std::string WhyNoGrpc();
  // As Stop(0).
  ~Front();
  Front(const Front&) = delete;
  Front& operator=(const Front&) = delete;

  // The models that are answered here from now on, all at once: a request sees the old ones or the new ones.
  // Requests at work keep what they began with. Counts of a name and version go on where they were.
  void SetModels(std::vector<FrontModel> models);

  // The views whose reads are answered here from now on, by feature and by service, all at once, as above.
  // None: reads are the app's. `max_rows`: of a request; more is for the app to refuse.
  void SetViews(std::vector<FrontView> views, std::vector<FrontService> services, std::size_t max_rows);

  // Who is answered from now on: a request whose head is read after the return meets these keys. Until the
  // first call everybody is.
  void SetGuard(FrontGuard guard);

  // The endpoints whose predictions, and infer requests, are answered here from now on, all at once, as
  // above. `*refused` names those whose parts do not belong together, with what is wrong: they are the app's.
  void SetEndpoints(std::vector<FrontEndpoint> endpoints, std::vector<std::string>* refused);

  // What was answered of them since the last call: every answer is in one of these, and in one only.
  std::vector<FrontPredictions> DrainPredictions();

  // Keeps spans of answers from now on: `share` (0 to 1) of the requests is sampled whose client has not
  // decided it in `traceparent`. At most `max_waiting` requests wait for DrainSpans, what is more is dropped.
  void SetTraces(double share, std::size_t max_waiting);
  // What waits, oldest first of each thread, and how many spans were dropped since the last time.
  std::vector<FrontSpan> DrainSpans(std::uint64_t* dropped);

  // Takes no more connections, lets requests end for so long, closes the rest, and ends the threads. Idle
  // connections have half a second, at most, to bring a last request.
  void Stop(double drain_seconds);

  std::vector<FrontModelCounts> ModelCounts() const;
  // Of reads of features; infer_nanos is the tables' part. No name and no version.
  FrontModelCounts ReadCounts() const;
  // Of predictions, by endpoint; no version.
  std::vector<FrontModelCounts> PredictCounts() const;
  FrontCounts Counts() const;

 private:
  Front();
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mainspring

#endif  // MAINSPRING_FRONT_H_
