// A vat: the library's own two-party client or server on a stream.

#include <capnp/rpc-twoparty.h>

#include "capability.h"
#include "stream.h"

namespace dismantle {

// `TwoPartyClient` serves either side of a connection.
struct Vat {
  Vat(Loop& loop, Stream* stream)
      : loop(loop), stream(own(stream)), client(*stream) {}
  Vat(Loop& loop, Stream* stream, Capability& bootstrap, capnp::rpc::twoparty::Side side)
      : loop(loop), stream(own(stream)), client(*stream, bootstrap.client, side) {}

  Loop& loop;
  // Behind it in the order of destruction.
  kj::Own<Stream> stream;
  capnp::TwoPartyClient client;
};

struct Server {
  Loop& loop;
  capnp::TwoPartyServer server;
};

}  // namespace dismantle

using namespace dismantle;

extern "C" {

// Takes the stream. Without a bootstrap capability it is the client.
Vat* dk_vat_new(Stream* stream, Capability* bootstrap, int is_server) noexcept {
  auto& loop = stream->loop;
  return within<Vat*>(loop, nullptr, [&]() {
    auto side = is_server ? capnp::rpc::twoparty::Side::SERVER : capnp::rpc::twoparty::Side::CLIENT;
    if (bootstrap == nullptr) return new Vat(loop, stream);
    return new Vat(loop, stream, *bootstrap, side);
  });
}

Capability* dk_vat_bootstrap(Vat* vat) noexcept {
  return within<Capability*>(vat->loop, nullptr, [&]() {
    return new Capability{vat->loop, vat->client.bootstrap()};
  });
}

// Waits for the peer to disconnect.
Wait* dk_vat_disconnected(Vat* vat, void* waiter) noexcept {
  return within<Wait*>(vat->loop, nullptr, [&]() {
    auto told = kj::heap<Waiter>(waiter);
    return new Wait(vat->loop, kj::mv(told), vat->client.onDisconnect());
  });
}

void dk_vat_shut_write(Vat* vat) noexcept {
  within(vat->loop, [&]() { vat->stream->shutdownWrite(); });
}

void dk_vat_abort_read(Vat* vat) noexcept {
  within(vat->loop, [&]() { vat->stream->abortRead(); });
}

void dk_vat_delete(Vat* vat) noexcept {
  within(vat->loop, [&]() { delete vat; });
}

Server* dk_server_new(Capability* bootstrap) noexcept {
  auto& loop = bootstrap->loop;
  return within<Server*>(loop, nullptr, [&]() {
    return new Server{loop, capnp::TwoPartyServer(bootstrap->client)};
  });
}

// Takes the stream, and keeps it for as long as the connection lives.
void dk_server_accept(Server* server, Stream* stream) noexcept {
  within(server->loop, [&]() {
    server->server.accept(own(stream));
  });
}

// Waits until there is no connection left.
Wait* dk_server_drained(Server* server, void* waiter) noexcept {
  return within<Wait*>(server->loop, nullptr, [&]() {
    auto told = kj::heap<Waiter>(waiter);
    return new Wait(server->loop, kj::mv(told), server->server.drain());
  });
}

void dk_server_delete(Server* server) noexcept {
  within(server->loop, [&]() { delete server; });
}
}
