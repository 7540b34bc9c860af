//! A future that says what it waits for, so that a hang can name it, and has its error judged.

use std::future::{Future, poll_fn};

use capnp::Error;
use dismantle_sim::{Name, Sim};
use dismantle_transport::Errors;

/// Runs `future`; while it is pending, its task is said to wait for `what` `on`.
pub fn waiting<F: Future>(
    sim: &Sim,
    what: &'static str,
    on: Name,
    future: F,
) -> impl Future<Output = F::Output> + use<F> {
    let sim = sim.clone();
    async move {
        let mut future = std::pin::pin!(future);
        poll_fn(|context| {
            let polled = future.as_mut().poll(context);
            if polled.is_pending() {
                sim.waits_for(what, on);
            }
            polled
        })
        .await
    }
}

/// Waits for the answer of `call`; the error that it may end with has to be the right one.
pub fn judged<T, F: Future<Output = Result<T, Error>>>(
    sim: &Sim,
    errors: &Errors,
    call: Name,
    answer: F,
) -> impl Future<Output = ()> + use<T, F> {
    let answer = waiting(sim, "return of", call, answer);
    let errors = errors.clone();
    async move {
        if let Err(error) = answer.await {
            errors.failed(call, &error);
        }
    }
}
