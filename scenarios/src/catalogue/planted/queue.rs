//! The bug of capnproto issue #2195 and its fix side by side: a send queue as a chain of
//! futures, each owning the one before, and as a vector.

use std::future::{Future, pending};
use std::pin::Pin;

use dismantle_sim::{Name, Phase, Question, Sim, Stopped, Tracked, share};

use crate::check::Class;
use crate::scenario::{Planted, Scenario};

static QUEUE: [Question; 2] = [
    Question::count("messages", (0, 1_000_000), 10, &[share(1, 2000, 6000)])
        .about("messages in the queue when it is destroyed"),
    Question::word("queue", &["chain", "vector"], &[])
        .about("the queue's form: before the fix of #2195, or after it"),
];

/// A send queue in both of its historical forms.
pub struct PlantedQueue;

type Queued = Pin<Box<dyn Future<Output = ()>>>;

/// Sends a message once the one before it is sent: the form before 1.0.0.
async fn after(before: Queued, message: Tracked<()>) {
    before.await;
    drop(message);
    pending().await
}

impl Scenario for PlantedQueue {
    fn name(&self) -> &'static str {
        "planted-queue"
    }

    fn about(&self) -> &'static str {
        "a send queue as a chain of futures (stack-growth) or as a vector (clean)"
    }

    fn parameters(&self) -> &'static [Question] {
        &QUEUE
    }

    fn over(&self) -> Option<&'static str> {
        Some("messages")
    }

    fn planted(&self) -> Option<Planted> {
        Some(Planted {
            class: Class::StackGrowth,
            clean: ("queue", "vector"),
        })
    }

    fn run(&self, sim: &Sim) -> Result<(), Stopped> {
        let count = sim.ask(&QUEUE[0], &[]) as u32;
        let chained = sim.ask(&QUEUE[1], &[]) == 0;
        let message = |number| sim.track(Name::numbered("client", "message", number), ());
        let (chain, vector) = sim.enter(Phase::Build, || {
            let mut chain: Queued = Box::pin(pending());
            let mut vector = Vec::new();
            for number in 0..count {
                match chained {
                    true => chain = Box::pin(after(chain, message(number))),
                    false => vector.push(message(number)),
                }
            }
            Ok((chain, vector))
        })?;
        sim.enter(Phase::Teardown, || {
            sim.act(Name::new("client", "drop-queue"), || drop((chain, vector)))?;
            Ok(())
        })
    }
}
