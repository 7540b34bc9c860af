#include "stream.h"

#include <capnp/common.h>
#include <kj/debug.h>

namespace dismantle {

namespace {
kj::Exception lost(ptrdiff_t code, const char* what) {
  return code == LOST ? KJ_EXCEPTION(DISCONNECTED, "connection lost", what)
                      : KJ_EXCEPTION(FAILED, "input or output failed", what);
}

// What `shutdownWrite` of kj's own streams throws, with their place, because this one stands in for
// them: of a socket that is not connected any more, and of an in-memory pipe that is being written.
kj::Exception refused(ptrdiff_t code) {
#if CAPNP_VERSION < 1000000
  constexpr int OF_SOCKET = 245, OF_PIPE = 645;
#else
  constexpr int OF_SOCKET = 491, OF_PIPE = 656;
#endif
  using Type = kj::Exception::Type;
  if (code == LOST) {
    return kj::Exception(
        Type::DISCONNECTED, "kj/async-io-unix.c++", OF_SOCKET,
        kj::heapString("shutdown(fd, SHUT_WR): Transport endpoint is not connected"));
  }
  return kj::Exception(Type::FAILED, "kj/async-io.c++", OF_PIPE,
                       kj::heapString("can't shutdownWrite() until previous write() completes"));
}
}  // namespace

class Stream::Reading {
 public:
  Reading(kj::PromiseFulfiller<size_t>& fulfiller, Stream& stream, kj::byte* buffer, size_t least,
          size_t most)
      : fulfiller(fulfiller), stream(stream), buffer(buffer), least(least), most(most) {
    KJ_REQUIRE(stream.reading == nullptr, "one read at a time");
    stream.reading = this;
    advance();
  }
  ~Reading() { leave(); }
  KJ_DISALLOW_COPY(Reading);

  void advance() {
    do {
      ptrdiff_t given = dk_host_read(stream.host, buffer + count, most - count);
      if (given == PENDING) return;
      if (given < 0) {
        leave();
        fulfiller.reject(lost(given, "read"));
        return;
      }
      if (given == 0) break;
      count += given;
    } while (count < least);
    leave();
    fulfiller.fulfill(kj::cp(count));
  }

 private:
  void leave() {
    if (stream.reading == this) stream.reading = nullptr;
  }

  kj::PromiseFulfiller<size_t>& fulfiller;
  Stream& stream;
  kj::byte* const buffer;
  const size_t least;
  const size_t most;
  size_t count = 0;
};

class Stream::Writing {
 public:
  Writing(kj::PromiseFulfiller<void>& fulfiller, Stream& stream,
          kj::ArrayPtr<const kj::byte> first,
          kj::ArrayPtr<const kj::ArrayPtr<const kj::byte>> rest)
      : fulfiller(fulfiller), stream(stream), piece(first), rest(rest) {
    KJ_REQUIRE(stream.writing == nullptr, "one write at a time");
    stream.writing = this;
    advance();
  }
  ~Writing() { leave(); }
  KJ_DISALLOW_COPY(Writing);

  void advance() {
    while (true) {
      while (piece.size() > 0) {
        ptrdiff_t taken = dk_host_write(stream.host, piece.begin(), piece.size());
        if (taken == PENDING) return;
        if (taken < 0) {
          leave();
          fulfiller.reject(lost(taken, "write"));
          return;
        }
        piece = piece.slice(taken, piece.size());
      }
      if (rest.size() == 0) break;
      piece = rest[0];
      rest = rest.slice(1, rest.size());
    }
    leave();
    fulfiller.fulfill();
  }

 private:
  void leave() {
    if (stream.writing == this) stream.writing = nullptr;
  }

  kj::PromiseFulfiller<void>& fulfiller;
  Stream& stream;
  kj::ArrayPtr<const kj::byte> piece;
  kj::ArrayPtr<const kj::ArrayPtr<const kj::byte>> rest;
};

kj::Promise<size_t> Stream::tryRead(void* buffer, size_t minBytes, size_t maxBytes) {
  if (maxBytes == 0) return size_t(0);
  return kj::newAdaptedPromise<size_t, Reading>(*this, static_cast<kj::byte*>(buffer), minBytes,
                                                maxBytes);
}

kj::Promise<void> Stream::write(const void* buffer, size_t size) {
  auto bytes = kj::arrayPtr(static_cast<const kj::byte*>(buffer), size);
  return kj::newAdaptedPromise<void, Writing>(*this, bytes, nullptr);
}

kj::Promise<void> Stream::write(kj::ArrayPtr<const kj::ArrayPtr<const kj::byte>> pieces) {
  return kj::newAdaptedPromise<void, Writing>(*this, nullptr, pieces);
}

kj::Promise<void> Stream::whenWriteDisconnected() {
  KJ_IF_MAYBE(promise, whenDisconnected) { return promise->addBranch(); }
  auto pair = kj::newPromiseAndFulfiller<void>();
  disconnected = kj::mv(pair.fulfiller);
  auto branch = whenDisconnected.emplace(pair.promise.fork()).addBranch();
  poll();
  return branch;
}

void Stream::shutdownWrite() {
  ptrdiff_t code = dk_host_shut_write(host, writing != nullptr);
  if (code != 0) kj::throwFatalException(refused(code));
}

void Stream::abortRead() { dk_host_abort_read(host); }

void Stream::poll() {
  if (writing != nullptr) writing->advance();
  if (reading != nullptr) reading->advance();
  KJ_IF_MAYBE(fulfiller, disconnected) {
    if (dk_host_write_is_dead(host)) fulfiller->get()->fulfill();
  }
}

}  // namespace dismantle

using namespace dismantle;

extern "C" {

Stream* dk_stream_new(Loop* loop, void* host) noexcept {
  return within<Stream*>(*loop, nullptr, [&]() { return new Stream(*loop, host); });
}

// For one that nobody took.
void dk_stream_delete(Stream* stream) noexcept {
  within(stream->loop, [&]() { own(stream); });
}

void dk_stream_poll(Stream* stream) noexcept {
  within(stream->loop, [&]() { stream->poll(); });
}
}
