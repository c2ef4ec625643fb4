// The threads that large batches share. They outlive a call: starting one costs 57 us (Zen 4, 2026-11), more
// than a thousand rows. No OpenMP, whose threads would fight those of torch for the same cores.

#ifndef MAINSPRING_POOL_H_
#define MAINSPRING_POOL_H_

namespace mainspring {

inline constexpr int kMaxThreads = 8;

// Calls work(context, i) for i = 0 on the calling thread and for i = 1 .. threads - 1 on pool threads, at
// once, and returns when all calls that began have ended. A pool thread that is not awake when the caller's
// own call ends is not waited for and does not begin, and one that somebody else uses is passed over: so the
// calls must share the work out among themselves, and the first alone must be able to finish it.
//
// A thread stays awake for about 50 us after its work and sleeps then. `is_long` says whether the work is
// worth the 50 us that a caller pays to wake a sleeper (a virtual CPU that halted; Zen 4, 2026-11). Where it
// is not, a sleeper is left alone, unless another call ended just before this one: then more will follow.
//
// Threads are started when they are first woken. They are the process's own: a forked child starts anew.
// Any thread may call; `work` must not throw.
void RunTogether(int threads, bool is_long, void (*work)(void* context, int i), void* context) noexcept;

}  // namespace mainspring

#endif  // MAINSPRING_POOL_H_
