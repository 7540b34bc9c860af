// A server object whose host says what its methods do.

#include "capability.h"

namespace dismantle {

struct Fulfiller {
  Loop& loop;
  kj::Own<kj::PromiseFulfiller<void>> fulfiller;
};

struct Resolver {
  Loop& loop;
  kj::Own<kj::PromiseFulfiller<capnp::Capability::Client>> fulfiller;
  // What the call that returned the promise was given.
  kj::Maybe<capnp::Capability::Client> argument;
};

class Object final : public capnp::Capability::Server {
 public:
  Object(Loop& loop, void* host) : loop(loop), host(host) {}
  ~Object() noexcept(false) { dk_host_drop_object(host); }

  using Context = capnp::CallContext<capnp::AnyPointer, capnp::AnyPointer>;

  DispatchCallResult dispatchCall(uint64_t interfaceId, uint16_t methodId,
                                  Context context) override {
    kj::Maybe<capnp::Capability::Client> argument;
    {
      auto params = context.getParams();
      if (params.isCapability()) argument = params.getAs<capnp::Capability>();
    }
    Reply reply = dk_host_call(host, interfaceId, methodId, argument != nullptr);
    if (reply.keeps) {
      KJ_IF_MAYBE(client, argument) { dk_host_keep(host, new Capability{loop, *client}); }
    }
    if (reply.result == Result::OBJECT) {
      // Made even if the call never ends: nobody else would destroy its host.
      argument = capnp::Capability::Client(kj::heap<Object>(loop, reply.object));
    }
    if (reply.throws) kj::throwFatalException(exception(reply.fault));
#if CAPNP_VERSION < 1000000
    if (reply.cancellable) context.allowCancellation();
    return {serve(interfaceId, methodId, context, kj::mv(argument), reply), bool(reply.streams)};
#else
    return {serve(interfaceId, methodId, context, kj::mv(argument), reply), bool(reply.streams),
            bool(reply.cancellable)};
#endif
  }

 private:
  // `argument` is what the call passes, or the new object that it returns.
  kj::Promise<void> serve(uint64_t interfaceId, uint16_t methodId, Context context,
                          kj::Maybe<capnp::Capability::Client>&& argument, Reply reply) {
    switch (reply.when) {
      case When::LATE: {
        auto pair = kj::newPromiseAndFulfiller<void>();
        dk_host_late(host, new Fulfiller{loop, kj::mv(pair.fulfiller)});
        auto own = thisCap();
        return pair.promise.then([this, own = kj::mv(own), interfaceId, methodId, context, reply,
                                  argument = kj::mv(argument)]() mutable {
          return finish(interfaceId, methodId, context, kj::mv(argument), reply);
        });
      }
      case When::NOW:
        break;
    }
    return finish(interfaceId, methodId, context, kj::mv(argument), reply);
  }

  kj::Promise<void> finish(uint64_t interfaceId, uint16_t methodId, Context context,
                           kj::Maybe<capnp::Capability::Client>&& argument, Reply reply) {
    if (reply.fails) return exception(reply.fault);
    switch (reply.result) {
      case Result::EMPTY:
        break;
      case Result::OBJECT:
      case Result::ARGUMENT:
        KJ_IF_MAYBE(client, argument) {
          context.getResults().setAs<capnp::Capability>(kj::mv(*client));
        }
        break;
      case Result::PROMISE: {
        auto pair = kj::newPromiseAndFulfiller<capnp::Capability::Client>();
        dk_host_promised(host, new Resolver{loop, kj::mv(pair.fulfiller), kj::mv(argument)});
        context.getResults().setAs<capnp::Capability>(
            capnp::Capability::Client(kj::mv(pair.promise)));
        break;
      }
      case Result::RELAY:
        KJ_IF_MAYBE(client, argument) {
          return context.tailCall(request(*client, interfaceId, methodId));
        }
        break;
      case Result::CALLBACK:
        KJ_IF_MAYBE(client, argument) {
          auto sent = request(*client, interfaceId, methodId).send();
          return sent.ignoreResult();
        }
        break;
      case Result::OWN:
        context.getResults().setAs<capnp::Capability>(thisCap());
        break;
    }
    return kj::READY_NOW;
  }

  Loop& loop;
  void* const host;
};

}  // namespace dismantle

using namespace dismantle;

extern "C" {

// A capability to a new object.
Capability* dk_object_new(Loop* loop, void* host) noexcept {
  return within<Capability*>(*loop, nullptr, [&]() {
    return new Capability{*loop, capnp::Capability::Client(kj::heap<Object>(*loop, host))};
  });
}

// A promise of a capability, and what resolves it.
Capability* dk_promise_new(Loop* loop, Resolver** resolver) noexcept {
  return within<Capability*>(*loop, nullptr, [&]() {
    auto pair = kj::newPromiseAndFulfiller<capnp::Capability::Client>();
    *resolver = new Resolver{*loop, kj::mv(pair.fulfiller), nullptr};
    return new Capability{*loop, capnp::Capability::Client(kj::mv(pair.promise))};
  });
}

void dk_fulfil(Fulfiller* fulfiller) noexcept {
  within(fulfiller->loop, [&]() { fulfiller->fulfiller->fulfill(); });
}

void dk_fulfiller_delete(Fulfiller* fulfiller) noexcept {
  within(fulfiller->loop, [&]() { delete fulfiller; });
}

// Resolves to the capability, or, without one, fails.
void dk_resolve(Resolver* resolver, Capability* capability, Fault fault) noexcept {
  within(resolver->loop, [&]() {
    if (capability != nullptr) {
      resolver->fulfiller->fulfill(kj::cp(capability->client));
    } else {
      resolver->fulfiller->reject(exception(fault));
    }
  });
}

// Resolves to the argument of the call that returned the promise, or, if it had none, fails.
void dk_resolve_to_argument(Resolver* resolver) noexcept {
  within(resolver->loop, [&]() {
    KJ_IF_MAYBE(argument, resolver->argument) {
      resolver->fulfiller->fulfill(kj::mv(*argument));
    } else {
      resolver->fulfiller->reject(exception(Fault::FAILED));
    }
  });
}

void dk_resolver_delete(Resolver* resolver) noexcept {
  within(resolver->loop, [&]() { delete resolver; });
}
}
