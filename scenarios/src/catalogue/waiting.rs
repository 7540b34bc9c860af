//! A future that says what it waits for, so that a hang can name it.

use std::future::{Future, poll_fn};

use dismantle_sim::{Name, Sim};

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
