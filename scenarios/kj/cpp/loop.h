// An event loop that somebody else turns, and the one way into the library.

#pragma once

#include <optional>

#include <kj/async.h>
#include <kj/exception.h>

#include "host.h"

namespace dismantle {

struct Loop final : private kj::EventPort {
  explicit Loop(void* host) : host(host), events(*this) {}

  void* const host;
  kj::EventLoop events;
  std::optional<kj::WaitScope> scope;

 private:
  // Nobody waits within the loop: the host turns it when it is runnable.
  bool wait() override { return false; }
  bool poll() override { return false; }
  void setRunnable(bool runnable) override {
    if (runnable) dk_host_runnable(host);
  }
};

// The loop is the thread's own while this lives. A call may come from within another loop's turn.
class Inside {
 public:
  explicit Inside(Loop& loop);
  ~Inside() noexcept(false);
  KJ_DISALLOW_COPY(Inside);

 private:
  Loop& loop;
  Loop* const outer;
};

// Has the library's log go to the host, and keeps it from looking at the stack: that would start
// another program to name its frames.
class Callback final : public kj::ExceptionCallback {
 public:
  void logMessage(kj::LogSeverity severity, const char* file, int line, int contextDepth,
                  kj::String&& text) override;
  StackTraceMode stackTraceMode() override { return StackTraceMode::NONE; }
  // Keeps where it was raised, for the case that the process ends of it.
  void onRecoverableException(kj::Exception&& exception) override;
  void onFatalException(kj::Exception&& exception) override;
};

// Hands an exception to the host.
void threw(const kj::Exception& exception);

inline Fault fault(const kj::Exception& exception) {
  return static_cast<Fault>(exception.getType());
}

// Makes an exception of this type, which it says as `dismantle_transport::exception` says it.
kj::Exception exception(Fault fault);

// Runs `body`; gives what it gives, or `otherwise` if it throws, and the host is told.
template <typename T, typename F>
T shielded(T otherwise, F&& body) noexcept {
  Callback callback;
  T result = otherwise;
  KJ_IF_MAYBE(exception, kj::runCatchingExceptions([&]() { result = body(); })) {
    threw(*exception);
    return otherwise;
  }
  return result;
}

// The same within a loop.
template <typename T, typename F>
T within(Loop& loop, T otherwise, F&& body) noexcept {
  return shielded(otherwise, [&]() {
    Inside inside(loop);
    return body();
  });
}

// The same for what gives nothing, but may throw.
template <typename F>
void within(Loop& loop, F&& body) noexcept {
  within(loop, 0, [&]() {
    body();
    return 0;
  });
}

}  // namespace dismantle
