//! `streaming`: a stream of calls under flow control, to a sink that may not keep up.
//!
//! Upstream lets a writer go on while fewer bytes than its window are on their way, and has it
//! wait else. What must hold: every promise for the flow ends once the
//! connection is gone; writes arrive in order; a write waits while the window is full; a call
//! behind the stream is answered behind it, and fails if the stream has failed.

use std::cell::Cell;
use std::rc::Rc;

use capnp::capability::{Client, Promise};
use capnp::{Error, ErrorKind, data};
use dismantle_sim::{Name, Phase, Question, Sim, Stopped, Tracked, share};
use dismantle_transport::compat::{self, AnyParams, AnyResults, Feature, Serve};
use dismantle_transport::{Vat, exception};

use super::ending::{self, Held};
use super::object::same;
use super::session::Session;
use super::waiting::waiting;
use crate::scenario::Scenario;

const DIRECTIONS: [&str; 3] = ["to-server", "to-client", "both"];
const WRITERS: [&str; 3] = ["waits", "rushes", "ignores"];
const SINKS: [&str; 4] = ["takes", "slow", "fails", "stuck"];
const BUGS: [&str; 4] = ["none", "forgets", "swaps", "floods"];

static PARAMETERS: [Question; 11] = [
    Question::count(
        "writes",
        (0, 1_000_000),
        10,
        &[share(1, 0, 20), share(1, 20, 100)],
    )
    .about("streaming calls of each writer"),
    Question::count(
        "bytes",
        (0, 1 << 20),
        1000,
        &[share(4, 0, 400), share(1, 4000, 12_000)],
    )
    .about("payload of each of them; see vat.*.window_bytes"),
    Question::word("direction", &DIRECTIONS, &[share(1, 0, 2)]).about("who writes to whom"),
    Question::word("writer", &WRITERS, &[share(2, 0, 0), share(1, 1, 2)])
        .about("whether it waits for the flow at each write, or at the end, or drops the promises"),
    Question::word("sink", &SINKS, &[share(1, 0, 3)]).about("what the sink does to a write"),
    Question::count(
        "at",
        (1, 1_000_000),
        1,
        &[share(1, 1, 8), share(1, 8, 60)],
    )
    .about("the first write to which it does so; those before are taken at once"),
    Question::word("done", &["called", "not-called"], &[share(2, 0, 0), share(1, 1, 1)])
        .about("whether each writer makes a last call, behind its stream"),
    Question::word("bug", &BUGS, &[])
        .about("a planted bug: a sink that forgets that it failed, a writer that swaps two writes or knows no window"),
    ending::END,
    ending::STEPS,
    ending::PAUSE,
];

const WRITE: u16 = 0;
const DONE: u16 = 1;

/// More than a message has beside its payload: a guess on the safe side.
const OVERHEAD_BYTES: u64 = 1024;

/// The scenario.
pub struct Streaming;

impl Scenario for Streaming {
    fn name(&self) -> &'static str {
        "streaming"
    }

    fn about(&self) -> &'static str {
        "streams of calls under flow control, to a sink that is slow, fails or is stuck"
    }

    fn parameters(&self) -> &'static [Question] {
        &PARAMETERS
    }

    fn missing(&self) -> Option<&'static str> {
        Feature::Streaming.missing()
    }

    fn over(&self) -> Option<&'static str> {
        Some("writes")
    }

    fn run(&self, sim: &Sim) -> Result<(), Stopped> {
        let ask = |index: usize| sim.ask(&PARAMETERS[index], &[]);
        let sinks = ["client", "server"].map(|vat| Sink::new(sim, vat));
        let session = sim.enter(Phase::Build, || {
            let [client, server] = sinks.each_ref().map(|sink| compat::client(sink.clone()));
            Ok(Session::between(sim, Some(client), server))
        })?;
        let [client_sink, server_sink] = sinks.map(|sink| sink.seen.clone());
        let held = sim.enter(Phase::Drive, || {
            let direction = DIRECTIONS[ask(2) as usize];
            let streams = [
                (
                    &session.client_vat,
                    "to-server",
                    &session.server,
                    server_sink,
                ),
                (
                    &session.server_vat,
                    "to-client",
                    &session.client,
                    client_sink,
                ),
            ];
            let mut held = Held::default();
            for (number, (vat, to, sink, seen)) in (1..).zip(streams) {
                if direction != to && direction != "both" {
                    continue;
                }
                sim.operation(number);
                session.link.operation(number);
                let sink = same(sink.as_ref().expect("a session has both"));
                let writer = Writer::new(sim, vat, seen);
                let task = sim.spawn_must_end(writer.name, writer.write(sink));
                held.tasks.push(task);
            }
            ending::wait(sim, &session, ask(9))?;
            Ok(held)
        })?;
        sim.enter(Phase::Teardown, || {
            ending::end(sim, session, held, (ask(8), ask(10)))
        })
    }
}

/// What became of a stream where it arrives; its writer looks at it, too.
#[derive(Default)]
struct Seen {
    /// The last write that arrived.
    last: Cell<u32>,
    /// How many the sink is done with.
    ended: Cell<u64>,
    failed: Cell<bool>,
}

/// The server of one stream.
struct Sink {
    sim: Sim,
    seen: Rc<Seen>,
    behaviour: &'static str,
    at: u32,
    is_streaming: bool,
    tracked: Tracked<()>,
}

impl Sink {
    fn new(sim: &Sim, vat: &'static str) -> Rc<Self> {
        let ask = |index: usize| sim.ask(&PARAMETERS[index], &[]);
        Rc::new(Self {
            sim: sim.clone(),
            seen: Rc::default(),
            behaviour: SINKS[ask(4) as usize],
            at: ask(5) as u32,
            is_streaming: BUGS[ask(7) as usize] != "forgets",
            tracked: sim.track(Name::new(vat, "sink"), ()),
        })
    }

    async fn take(self: Rc<Self>, number: u32) -> Result<(), Error> {
        match self.behaviour {
            "slow" if number >= self.at => self.sim.sleep_us(100).await,
            "fails" if number >= self.at => {
                self.seen.failed.set(true);
                return Err(exception(ErrorKind::Failed));
            }
            "stuck" if number >= self.at => std::future::pending().await,
            _ => {}
        }
        self.seen.ended.set(self.seen.ended.get() + 1);
        Ok(())
    }
}

impl Serve for Sink {
    fn call(
        self: Rc<Self>,
        number: u64,
        method_id: u16,
        params: AnyParams,
        results: AnyResults,
    ) -> Promise<(), Error> {
        if method_id == DONE {
            return Promise::ok(());
        }
        let number = number as u32;
        let before = self.seen.last.replace(number);
        if number <= before {
            let detail = format!("write {number} arrives behind write {before}");
            let rule = "the writes of a stream arrive in order";
            let name = self.tracked.name();
            self.sim.breach("call-order", rule, name, detail);
        }
        Promise::from_future(async move {
            // A real sink reads what it is given, and may take its time.
            let taken = self.take(number).await;
            drop((params, results));
            taken
        })
    }

    fn is_streaming(&self, _interface_id: u64, method_id: u16) -> bool {
        self.is_streaming && method_id == WRITE
    }
}

/// Who writes one stream. Like real ones it owns the capability while it waits.
struct Writer {
    sim: Sim,
    name: Name,
    window_bytes: u64,
    seen: Rc<Seen>,
    writes: u32,
    bytes: u64,
    manner: &'static str,
    calls_done: bool,
    bug: &'static str,
}

impl Writer {
    fn new(sim: &Sim, vat: &Vat, seen: Rc<Seen>) -> Self {
        let ask = |index: usize| sim.ask(&PARAMETERS[index], &[]);
        Self {
            sim: sim.clone(),
            name: Name::new(vat.name(), "stream"),
            window_bytes: vat.window_bytes(),
            seen,
            writes: ask(0) as u32,
            bytes: ask(1),
            manner: WRITERS[ask(3) as usize],
            calls_done: ask(6) == 0,
            bug: BUGS[ask(7) as usize],
        }
    }

    async fn write(self, sink: Client) {
        let mut flows = Vec::new();
        for number in 1..=self.writes {
            let flow = self.send(&sink, number);
            match self.manner {
                "waits" => {
                    let flowed = waiting(&self.sim, "flow of", self.name, flow).await;
                    if flowed.is_err() {
                        break;
                    }
                    self.check_window(number);
                }
                "rushes" => flows.push(flow),
                _ => drop(flow),
            }
        }
        if self.calls_done {
            let done = compat::send(&sink, 0, DONE, |_| Ok(())).promise;
            let done = waiting(&self.sim, "answer of", self.name, done).await;
            if done.is_ok() {
                self.check_done();
            }
        } else {
            drop(sink);
        }
        for flow in flows {
            drop(waiting(&self.sim, "flow of", self.name, flow).await);
        }
    }

    fn send(&self, sink: &Client, number: u32) -> Promise<(), Error> {
        let number = match (self.bug, number) {
            ("swaps", 1) => 2,
            ("swaps", 2) => 1,
            _ => number,
        };
        let bytes = self.bytes as u32;
        let fill = |params: capnp::any_pointer::Builder<'_>| {
            params.initn_as::<data::Builder<'_>>(bytes);
            Ok(())
        };
        if self.bug == "floods" {
            let sent = compat::send(sink, number.into(), WRITE, fill).promise;
            self.sim.spawn(self.name, async { drop(sent.await) });
            return Promise::ok(());
        }
        compat::send_streaming(sink, number.into(), WRITE, fill)
    }

    /// The flow has let the writer go on: is there room in the window, at the most?
    fn check_window(&self, issued: u32) {
        let under_way = u64::from(issued).saturating_sub(self.seen.ended.get()) * self.bytes;
        if under_way > self.window_bytes + self.bytes + OVERHEAD_BYTES {
            let detail = format!("{under_way} bytes are on their way");
            let rule = "a write waits while the window is full";
            self.sim.breach("early-completion", rule, self.name, detail);
        }
    }

    fn check_done(&self) {
        if self.seen.failed.get() {
            let rule = "a call behind a failed stream fails";
            let detail = "it is answered without an error";
            self.sim.breach("wrong-error", rule, self.name, detail);
        }
        let (ended, writes) = (self.seen.ended.get(), u64::from(self.writes));
        if ended < writes && !self.seen.failed.get() {
            let rule = "a call behind a stream is answered behind it";
            let detail = format!("{ended} of {writes} writes have ended");
            self.sim.breach("early-completion", rule, self.name, detail);
        }
    }
}
