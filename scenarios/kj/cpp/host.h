// What the shim calls: functions of the Rust side (`src/bridge/host.rs`). None of them unwinds, and
// none keeps a buffer or a text that it is given.

#pragma once

#include <stddef.h>
#include <stdint.h>

namespace dismantle {

struct Capability;
struct Fulfiller;
struct Resolver;

// The types of exceptions, as kj and the RPC protocol number them.
enum class Fault : uint32_t { FAILED = 0, OVERLOADED = 1, DISCONNECTED = 2, UNIMPLEMENTED = 3 };

// What a stream's operation may answer beside a count of bytes.
constexpr ptrdiff_t PENDING = -1;
constexpr ptrdiff_t LOST = -2;
constexpr ptrdiff_t BROKEN = -3;

// What a method does with its call.
enum class When : uint32_t { NOW = 0, LATE = 1 };
enum class Result : uint32_t {
  EMPTY = 0,     // no capability
  OBJECT = 1,    // a new object, whose host is in the reply
  ARGUMENT = 2,  // the capability that it was given
  PROMISE = 3,   // a capability that is a promise: the host gets its resolver
  RELAY = 4,     // what the argument answers to the same call (a tail call)
  CALLBACK = 5,  // the argument is called and waited for; then nothing
  OWN = 6,       // the object itself
};

struct Reply {
  When when;
  Result result;
  uint32_t fails;        // whether it ends with `fault`
  Fault fault;
  uint32_t throws;       // the exception leaves the method itself, not its promise
  uint32_t keeps;        // the host gets the capability that came as an argument
  uint32_t streams;      // the method is declared `-> stream`
  uint32_t cancellable;  // a caller that goes away ends it
  void* object;          // the host of a new object
};

}  // namespace dismantle

extern "C" {
// The loop has something to do.
void dk_host_runnable(void* loop);

// Something was thrown at the caller of the shim.
void dk_host_threw(const char* file, int line, const char* text);
// The library writes to its log.
void dk_host_log(const char* file, int line, const char* text);
// The process is about to be terminated, because of this exception if there is a file.
void dk_host_terminating(const char* file, int line, const char* text);

// Bytes read, 0 at the end of the file; or PENDING, and the stream is polled when it may go on.
ptrdiff_t dk_host_read(void* stream, void* buffer, size_t bytes_max);
// Bytes written; or PENDING.
ptrdiff_t dk_host_write(void* stream, const void* bytes, size_t count);
// 0; or LOST, because there is no connection any more, or BROKEN, because a write is under way.
ptrdiff_t dk_host_shut_write(void* stream, int is_writing);
void dk_host_abort_read(void* stream);
// Whether nothing can be written any more.
int dk_host_write_is_dead(void* stream);
void dk_host_drop_stream(void* stream);

// A call arrives at an object.
dismantle::Reply dk_host_call(void* object, uint64_t interface_id, uint16_t method_id,
                              int has_argument);
// The call that was just answered ends when this is fulfilled.
void dk_host_late(void* object, dismantle::Fulfiller* fulfiller);
// The capability that was just returned is what this resolves to.
void dk_host_promised(void* object, dismantle::Resolver* resolver);
// The call that was just answered came with this capability, and `keeps` it.
void dk_host_keep(void* object, dismantle::Capability* capability);
void dk_host_drop_object(void* object);

// What was waited for has come, with a capability perhaps.
void dk_host_settled(void* waiter, dismantle::Capability* capability);
// It has failed.
void dk_host_failed(void* waiter, dismantle::Fault fault, const char* text);
void dk_host_drop_waiter(void* waiter);

// The program's allocator, which keeps the heap ledger.
void* dk_host_allocate(size_t bytes);
void dk_host_free(void* block);
}
