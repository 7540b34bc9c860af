// Bugs of ours, one a check, put here to be found.

#include <vector>

#include <kj/debug.h>

#include "loop.h"

namespace dismantle {

namespace {

// A destructor that throws.
struct Throws {
  ~Throws() noexcept(false) { KJ_FAIL_REQUIRE("planted: a destructor throws"); }
};

// One that throws while another does.
struct ThrowsTwice {
  Throws member;
  ~ThrowsTwice() noexcept(false) { KJ_FAIL_REQUIRE("planted: the first of two destructors throws"); }
};

void no_exception() noexcept { KJ_FAIL_REQUIRE("planted: a noexcept function throws"); }

// Who owns it forgets it.
struct Forgotten {
  char bytes[100];
};

}  // namespace

// A queue of messages that are never sent: each a promise of the one before, or all in a vector.
struct Queue {
  Loop& loop;
  kj::Promise<void> chain = kj::NEVER_DONE;
  std::vector<kj::Promise<void>> vector = {};
};

}  // namespace dismantle

using namespace dismantle;

extern "C" {

void dk_planted_throw(Loop* loop) noexcept {
  within(*loop, [&]() { delete new Throws; });
}

// Ends the process.
void dk_planted_terminate(Loop* loop, int within_noexcept) noexcept {
  within(*loop, [&]() {
    if (within_noexcept) no_exception();
    delete new ThrowsTwice;
  });
}

void dk_planted_leak(Loop* loop) noexcept {
  within(*loop, [&]() {
    // Nobody reads it, but the compiler cannot know.
    Forgotten* volatile forgotten = new Forgotten;
    (void)forgotten;
  });
}

Queue* dk_planted_queue_new(Loop* loop, uint32_t messages, int chained) noexcept {
  return within<Queue*>(*loop, nullptr, [&]() {
    auto queue = new Queue{*loop};
    for (uint32_t message = 0; message < messages; ++message) {
      if (chained) {
        queue->chain = queue->chain.then([]() -> kj::Promise<void> { return kj::READY_NOW; })
                           .attach(kj::heap<uint32_t>(message));
      } else {
        queue->vector.push_back(kj::Promise<void>(kj::NEVER_DONE));
      }
    }
    return queue;
  });
}

void dk_planted_queue_delete(Queue* queue) noexcept {
  within(queue->loop, [&]() { delete queue; });
}
}
