// What the process ends of, if it does: the host hears it first.

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>

#include "loop.h"

namespace dismantle {

namespace {

// Where an exception was raised. It allocates nothing, as the library cannot know of it.
struct Raised {
  char file[256];
  int line;
  char text[256];

  void set(const kj::Exception& exception) {
    auto copy = [](char (&to)[256], const char* from) {
      std::strncpy(to, from, sizeof(to) - 1);
      to[sizeof(to) - 1] = 0;
    };
    copy(file, exception.getFile());
    line = exception.getLine();
    copy(text, exception.getDescription().cStr());
  }
};

// Those that may be in flight at once: each by how many there were when it was raised.
constexpr int IN_FLIGHT_MAX = 4;
thread_local Raised raised[IN_FLIGHT_MAX];

void raise(const kj::Exception& exception) {
  raised[std::min(std::uncaught_exceptions(), IN_FLIGHT_MAX - 1)].set(exception);
}

// The process still ends, as it would without us.
[[noreturn]] void terminating() {
  int in_flight = std::min(std::uncaught_exceptions(), IN_FLIGHT_MAX);
  for (int number = 0; number < in_flight; ++number) {
    auto& before = raised[number];
    dk_host_terminating(before.file, before.line, before.text);
  }
  if (auto last = std::current_exception()) {
    try {
      std::rethrow_exception(last);
    } catch (const kj::Exception& exception) {
      dk_host_terminating(exception.getFile(), exception.getLine(),
                          exception.getDescription().cStr());
    } catch (...) {
      dk_host_terminating("", 0, "an exception that is not kj's");
    }
  } else {
    dk_host_terminating("", 0, "std::terminate");
  }
  std::abort();
}

// Before `main`: what the library makes once in a process belongs to no run.
[[maybe_unused]] const bool installed = [] {
  std::set_terminate(terminating);
  kj::getExceptionCallback();
  return true;
}();

}  // namespace

void Callback::onRecoverableException(kj::Exception&& exception) {
  raise(exception);
  ExceptionCallback::onRecoverableException(kj::mv(exception));
}

void Callback::onFatalException(kj::Exception&& exception) {
  raise(exception);
  ExceptionCallback::onFatalException(kj::mv(exception));
}

}  // namespace dismantle
