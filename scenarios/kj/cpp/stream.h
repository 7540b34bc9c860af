// One end of the simulated connection as a stream of kj's.

#pragma once

#include <kj/async-io.h>

#include "loop.h"

namespace dismantle {

// Reads and writes go to the host at once; one that is pending is tried again when the host polls
// the stream. A buffer is handed over for the time of one call only, and an operation that is
// cancelled is forgotten by its destructor: nobody else knows of it.
class Stream final : public kj::AsyncIoStream {
 public:
  Stream(Loop& loop, void* host) : loop(loop), host(host) {}
  ~Stream() noexcept(false) { dk_host_drop_stream(host); }

  kj::Promise<size_t> tryRead(void* buffer, size_t minBytes, size_t maxBytes) override;
  kj::Promise<void> write(const void* buffer, size_t size) override;
  kj::Promise<void> write(kj::ArrayPtr<const kj::ArrayPtr<const kj::byte>> pieces) override;
  kj::Promise<void> whenWriteDisconnected() override;
  void shutdownWrite() override;
  void abortRead() override;

  // Tries again what is pending.
  void poll();

  Loop& loop;

 private:
  class Reading;
  class Writing;

  void* const host;
  Reading* reading = nullptr;
  Writing* writing = nullptr;
  kj::Maybe<kj::Own<kj::PromiseFulfiller<void>>> disconnected;
  kj::Maybe<kj::ForkedPromise<void>> whenDisconnected;
};

// Takes over what `dk_stream_new` has made.
inline kj::Own<Stream> own(Stream* stream) {
  return kj::Own<Stream>(stream, kj::_::HeapDisposer<Stream>::instance);
}

}  // namespace dismantle
