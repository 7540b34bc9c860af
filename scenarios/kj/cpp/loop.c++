#include "loop.h"

#include <kj/debug.h>

namespace dismantle {

namespace {
thread_local Loop* current = nullptr;
}

Inside::Inside(Loop& loop) : loop(loop), outer(current) {
  if (outer == &loop) return;
  if (outer != nullptr) outer->scope.reset();
  loop.scope.emplace(loop.events);
  current = &loop;
}

Inside::~Inside() noexcept(false) {
  if (outer == &loop) return;
  loop.scope.reset();
  current = outer;
  if (outer != nullptr) outer->scope.emplace(outer->events);
}

void Callback::logMessage(kj::LogSeverity, const char* file, int line, int, kj::String&& text) {
  dk_host_log(file, line, text.cStr());
}

void threw(const kj::Exception& exception) {
  dk_host_threw(exception.getFile(), exception.getLine(),
                exception.getDescription().cStr());
}

kj::Exception exception(Fault fault) {
  static const char* const NAMES[] = {"Failed", "Overloaded", "Disconnected", "Unimplemented"};
  auto type = static_cast<kj::Exception::Type>(fault);
  auto text = kj::str("injected exception of type ", NAMES[static_cast<uint32_t>(fault)]);
  return kj::Exception(type, __FILE__, __LINE__, kj::mv(text));
}

}  // namespace dismantle

using namespace dismantle;

extern "C" {

Loop* dk_loop_new(void* host) noexcept {
  return shielded<Loop*>(nullptr, [&]() { return new Loop(host); });
}

// One turn; whether there is more to do.
int dk_loop_turn(Loop* loop) noexcept {
  within(*loop, [&]() { loop->events.run(1); });
  return shielded(0, [&]() { return int(loop->events.isRunnable()); });
}

void dk_loop_delete(Loop* loop) noexcept {
  shielded(0, [&]() {
    delete loop;
    return 0;
  });
}
}
