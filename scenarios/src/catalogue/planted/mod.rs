//! Planted bugs: one a check, each found by its check and by no other.
//!
//! They prove that the checks can fire. `planted-queue` is the bug of capnproto issue #2195 and
//! its fix side by side: a send queue as a chain of futures, each owning the one before, and as
//! a vector.

use std::cell::RefCell;
use std::future::{Future, pending};
use std::pin::Pin;
use std::rc::Rc;

use dismantle_sim::{Name, Phase, Question, Sim, Stopped, Tracked, share};

use crate::scenario::Scenario;

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

    fn planted(&self) -> bool {
        true
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

static CHANCE: Question = Question::count("rare", (0, 15), 0, &[share(1, 0, 15)])
    .about("the bug is there when this is 7");

/// Whether this seed has the bug: about one in sixteen.
fn strikes(sim: &Sim) -> bool {
    sim.ask(&CHANCE, &[]) == 7
}

macro_rules! planted {
    ($(#[$doc:meta])* $type:ident, $name:literal, $about:literal, $sim:ident => $body:expr) => {
        $(#[$doc])*
        pub struct $type;

        impl Scenario for $type {
            fn name(&self) -> &'static str {
                $name
            }

            fn about(&self) -> &'static str {
                $about
            }

            fn parameters(&self) -> &'static [Question] {
                std::slice::from_ref(&CHANCE)
            }

            fn planted(&self) -> bool {
                true
            }

            fn run(&self, $sim: &Sim) -> Result<(), Stopped> {
                $sim.enter(Phase::Teardown, || $body)
            }
        }
    };
}

planted!(
    /// Panics in a destructor.
    PlantedPanic,
    "planted-panic",
    "a destructor that panics (panic)",
    sim => {
        let bomb = Bomb(strikes(sim));
        sim.act(Name::new("owner", "drop-bomb"), || drop(bomb))?;
        Ok(())
    }
);

planted!(
    /// Panics in a destructor while another panic unwinds: the process aborts.
    PlantedAbort,
    "planted-abort",
    "two destructors of one scope that panic: the process aborts (abort)",
    sim => {
        let bombs = (Bomb(strikes(sim)), Bomb(strikes(sim)));
        sim.act(Name::new("owner", "drop-bombs"), || drop(bombs))?;
        Ok(())
    }
);

planted!(
    /// Waits for an answer that nobody sends.
    PlantedHang,
    "planted-hang",
    "a call whose answer is lost (hang)",
    sim => {
        let name = Name::new("client", "call");
        let answered = !strikes(sim);
        sim.spawn_must_end(name, async move {
            if !answered {
                pending::<()>().await;
            }
        });
        sim.settle()
    }
);

planted!(
    /// Two objects that keep each other alive.
    PlantedLeak,
    "planted-leak",
    "two objects that own each other (leak)",
    sim => {
        let first = Rc::new(sim.track(Name::numbered("owner", "node", 0), Node::default()));
        let second = Rc::new(sim.track(Name::numbered("owner", "node", 1), Node::default()));
        *first.other.borrow_mut() = Some(second.clone());
        if strikes(sim) {
            *second.other.borrow_mut() = Some(first.clone());
        }
        sim.act(Name::new("owner", "drop-nodes"), || drop((first, second)))?;
        Ok(())
    }
);

/// Panics when it is dropped, if it is armed.
struct Bomb(bool);

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(!self.0, "planted");
    }
}

#[derive(Default)]
struct Node {
    other: RefCell<Option<Rc<Tracked<Node>>>>,
}
