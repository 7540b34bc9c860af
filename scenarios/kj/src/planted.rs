//! Planted bugs on both sides of the bridge: one a check, each found by its check and by no other.

use std::future::Future;

use dismantle::{Class, Planted, Scenario};
use dismantle_sim::{Name, Phase, Question, Sim, Stopped, share};
use dismantle_transport::Link;

use crate::bridge::{
    Bug, Capability, EventLoop, Queue, Reply, Served, Shutdown, Side, Stream, Vat,
};

static CHANCE: Question = Question::count("rare", (0, 15), 0, &[share(1, 0, 15)])
    .about("the bug is there when this is 7");

/// The setting without the bug.
const CLEAN: (&str, &str) = ("rare", "3");

/// Whether this seed has the bug: about one in sixteen.
fn strikes(sim: &Sim) -> bool {
    sim.ask(&CHANCE, &[]) == 7
}

/// A scenario whose bug strikes rarely.
macro_rules! planted {
    ($(#[$doc:meta])* $type:ident, $name:literal, $about:literal, $class:ident,
     $sim:ident => $body:expr) => {
        $(#[$doc])*
        pub struct $type;

        impl Scenario for $type {
            fn name(&self) -> &'static str {
                $name
            }

            fn about(&self) -> &'static str {
                $about
            }

            fn upstream(&self) -> String {
                crate::upstream()
            }

            fn parameters(&self) -> &'static [Question] {
                std::slice::from_ref(&CHANCE)
            }

            fn planted(&self) -> Option<Planted> {
                Some(Planted { class: Class::$class, clean: CLEAN })
            }

            fn run(&self, $sim: &Sim) -> Result<(), Stopped> {
                $body
            }
        }
    };
}

planted!(
    /// An exception leaves a destructor.
    PlantedThrow,
    "planted-kj-throw",
    "a C++ destructor that throws (panic)",
    Panic,
    sim => one_action(sim, Bug::Throw)
);

planted!(
    /// An exception leaves a destructor while another one unwinds: `std::terminate`.
    PlantedTerminate,
    "planted-kj-terminate",
    "two C++ destructors of one chain that throw (abort)",
    Abort,
    sim => one_action(sim, Bug::ThrowTwice)
);

planted!(
    /// An exception leaves a `noexcept` function: `std::terminate`.
    PlantedNoexcept,
    "planted-kj-noexcept",
    "a C++ function that throws though it says that it does not (abort)",
    Abort,
    sim => one_action(sim, Bug::ThrowNoexcept)
);

planted!(
    /// Nobody deletes an object.
    PlantedLeak,
    "planted-kj-leak",
    "a C++ object that nobody deletes (leak)",
    Leak,
    sim => one_action(sim, Bug::Leak)
);

fn one_action(sim: &Sim, bug: Bug) -> Result<(), Stopped> {
    let on = sim.enter(Phase::Build, || Ok(EventLoop::new(sim, "client")))?;
    sim.enter(Phase::Teardown, || {
        sim.act(Name::new("client", "drop-planted"), || {
            if strikes(sim) {
                bug.strike(&on);
            }
        })?;
        sim.act(Name::new("client", "drop-loop"), || drop(on))?;
        Ok(())
    })
}

planted!(
    /// A method panics, with frames of C++ between it and whoever polls.
    PlantedPanic,
    "planted-kj-panic",
    "a Rust method, called from C++, that panics (panic)",
    Panic,
    sim => session(sim, strikes(sim))
);

struct Panics(bool);

impl Served for Panics {
    fn call(&self, _: u64, _: u16, _: bool) -> Reply {
        assert!(!self.0, "planted: a method panics");
        Reply::default()
    }
}

/// One call, and an orderly end.
fn session(sim: &Sim, panics: bool) -> Result<(), Stopped> {
    let (client, remote, server) = sim.enter(Phase::Build, || {
        let (_, client_end, server_end) = Link::new(sim);
        let on = EventLoop::new(sim, "server");
        let object = Capability::object(&on, Name::new("server", "bootstrap"), Panics(panics));
        let vat = |on: &EventLoop, end, side, object| {
            let stream = Stream::new(on, end, Shutdown::Fails);
            Vat::new(on, Name::new(on.owner(), "system"), stream, side, object)
        };
        let server = vat(&on, server_end, Side::Server, Some(&object));
        let on = EventLoop::new(sim, "client");
        let client = vat(&on, client_end, Side::Client, None);
        let remote = client.bootstrap(Name::new("client", "bootstrap"));
        Ok((client, remote, server))
    })?;
    sim.enter(Phase::Drive, || {
        let name = Name::numbered("client", "call", 1);
        let answer = remote.call(name, (1, 0), None).answer();
        drop(sim.spawn(name, ended(answer)));
        sim.settle()
    })?;
    sim.enter(Phase::Teardown, || {
        sim.act(Name::new("client", "drop-bootstrap"), || drop(remote))?;
        sim.act(Name::new("client", "drop-system"), || drop(client))?;
        sim.act(Name::new("server", "drop-system"), || drop(server))?;
        Ok(())
    })
}

async fn ended(answer: impl Future) {
    drop(answer.await);
}

static QUEUE: [Question; 2] = [
    Question::count("messages", (0, 1_000_000), 10, &[share(1, 2000, 6000)])
        .about("messages in the queue when it is destroyed"),
    Question::word("queue", &["chain", "vector"], &[])
        .about("the queue's form: before the fix of #2195, or after it"),
];

/// The bug of capnproto issue #2195 in a few lines, on any release: a send queue as a chain of
/// promises, and as a vector.
pub struct PlantedQueue;

impl Scenario for PlantedQueue {
    fn name(&self) -> &'static str {
        "planted-kj-queue"
    }

    fn about(&self) -> &'static str {
        "a send queue as a chain of C++ promises (stack-growth) or as a vector (clean)"
    }

    fn upstream(&self) -> String {
        crate::upstream()
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
        let messages = sim.ask(&QUEUE[0], &[]) as u32;
        let is_chain = sim.ask(&QUEUE[1], &[]) == 0;
        let queue = sim.enter(Phase::Build, || {
            Ok(Queue::new(
                &EventLoop::new(sim, "client"),
                messages,
                is_chain,
            ))
        })?;
        sim.enter(Phase::Teardown, || {
            sim.act(Name::new("client", "drop-queue"), || drop(queue))?;
            Ok(())
        })
    }
}
