// Capabilities, and what is waited for.

#pragma once

#include <capnp/any.h>
#include <capnp/capability.h>

#include "loop.h"

namespace dismantle {

struct Capability {
  Loop& loop;
  capnp::Capability::Client client;
};

// An untyped call that is not yet sent.
inline auto request(capnp::Capability::Client& client, uint64_t interface_id, uint16_t method_id) {
#if CAPNP_VERSION < 1000000
  return client.typelessRequest(interface_id, method_id, nullptr);
#else
  return client.typelessRequest(interface_id, method_id, nullptr, {});
#endif
}

// The host's waiter, told once at most and dropped with whatever holds this.
class Waiter {
 public:
  explicit Waiter(void* host) : host(host) {}
  Waiter(Waiter&& other) : host(other.host) { other.host = nullptr; }
  ~Waiter() {
    if (host != nullptr) dk_host_drop_waiter(host);
  }
  KJ_DISALLOW_COPY(Waiter);

  void settled(Capability* capability) { dk_host_settled(host, capability); }
  void failed(const kj::Exception& exception) {
    dk_host_failed(host, fault(exception), exception.getDescription().cStr());
  }

 private:
  void* host;
};

// Something that is waited for: destroying it ends the wait.
struct Wait {
  Wait(Loop& loop, kj::Promise<void>&& promise) : loop(loop), promise(kj::mv(promise)) {}
  // Made before the promise, so that the waiter has its owner whatever is thrown.
  Wait(Loop& loop, kj::Own<Waiter>&& waiter, kj::Promise<void>&& promise);

  Loop& loop;
  kj::Promise<void> promise;
};

}  // namespace dismantle
