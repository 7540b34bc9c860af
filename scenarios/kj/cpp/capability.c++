#include "capability.h"

#include <kj/debug.h>

namespace dismantle {

Wait::Wait(Loop& loop, kj::Own<Waiter>&& waiter, kj::Promise<void>&& waited)
    : loop(loop), promise(nullptr) {
  auto& told = *waiter;
  promise = waited.then([&told]() { told.settled(nullptr); },
                        [&told](kj::Exception&& exception) { told.failed(exception); })
                .attach(kj::mv(waiter))
                .eagerlyEvaluate(nullptr);
}

using Response = capnp::Response<capnp::AnyPointer>;

// A call that was sent: its answer, and what can be pipelined on it.
struct Call {
  Loop& loop;
  kj::Maybe<kj::Promise<Response>> answer;
  kj::Maybe<capnp::AnyPointer::Pipeline> pipeline;
};

}  // namespace dismantle

using namespace dismantle;

extern "C" {

Capability* dk_capability_clone(Capability* capability) noexcept {
  auto& loop = capability->loop;
  return within<Capability*>(loop, nullptr,
                             [&]() { return new Capability{loop, capability->client}; });
}

void dk_capability_delete(Capability* capability) noexcept {
  within(capability->loop, [&]() { delete capability; });
}

// Waits until it is no promise any more.
Wait* dk_capability_resolved(Capability* capability, void* waiter) noexcept {
  auto& loop = capability->loop;
  return within<Wait*>(loop, nullptr, [&]() {
    auto told = kj::heap<Waiter>(waiter);
    return new Wait(loop, kj::mv(told), capability->client.whenResolved());
  });
}

Call* dk_call(Capability* capability, uint64_t interface_id, uint16_t method_id,
              Capability* argument) noexcept {
  auto& loop = capability->loop;
  return within<Call*>(loop, nullptr, [&]() {
    auto call = request(capability->client, interface_id, method_id);
    if (argument != nullptr) {
      call.setAs<capnp::Capability>(kj::cp(argument->client));
    }
    auto sent = call.send();
    kj::Promise<Response> answer(static_cast<kj::Promise<Response>&&>(sent));
    capnp::AnyPointer::Pipeline pipeline(static_cast<capnp::AnyPointer::Pipeline&&>(sent));
    return new Call{loop, kj::mv(answer), kj::mv(pipeline)};
  });
}

// A streaming call has no answer but that the next one may be made.
Wait* dk_call_streaming(Capability* capability, uint64_t interface_id, uint16_t method_id,
                        void* waiter) noexcept {
  auto& loop = capability->loop;
  return within<Wait*>(loop, nullptr, [&]() {
    auto told = kj::heap<Waiter>(waiter);
    auto call = request(capability->client, interface_id, method_id);
    auto hook = capnp::RequestHook::from(kj::mv(call));
    return new Wait(loop, kj::mv(told), hook->sendStreaming());
  });
}

// The capability that the call will have returned.
Capability* dk_call_pipelined(Call* call) noexcept {
  return within<Capability*>(call->loop, nullptr, [&]() {
    auto& pipeline = KJ_REQUIRE_NONNULL(call->pipeline, "it was given up");
    return new Capability{call->loop, capnp::Capability::Client(pipeline.asCap())};
  });
}

void dk_call_drop_pipeline(Call* call) noexcept {
  within(call->loop, [&]() { call->pipeline = nullptr; });
}

// Waits for the answer, which the wait keeps; the call keeps what can be pipelined on it.
Wait* dk_call_answer(Call* call, void* waiter) noexcept {
  auto& loop = call->loop;
  return within<Wait*>(loop, nullptr, [&]() -> Wait* {
    auto told = kj::heap<Waiter>(waiter);
    auto answer = kj::mv(KJ_ASSERT_NONNULL(call->answer));
    call->answer = nullptr;
    auto& settled = *told;
    auto kept = kj::heap<kj::Maybe<Response>>();
    auto& response = *kept;
    auto promise = answer.then(
        [&loop, &settled, &response](Response&& answer) {
          Capability* capability = nullptr;
          if (answer.isCapability()) {
            capability = new Capability{loop, answer.getAs<capnp::Capability>()};
          }
          response = kj::mv(answer);
          settled.settled(capability);
        },
        [&settled](kj::Exception&& exception) { settled.failed(exception); });
    auto whole = promise.attach(kj::mv(kept), kj::mv(told)).eagerlyEvaluate(nullptr);
    return new Wait(loop, kj::mv(whole));
  });
}

void dk_call_delete(Call* call) noexcept {
  within(call->loop, [&]() { delete call; });
}

void dk_wait_delete(Wait* wait) noexcept {
  within(wait->loop, [&]() { delete wait; });
}
}
