//! What a simulated run costs, as ratios to the same work on upstream alone.
//!
//! It prints and asserts nothing about speed: a slow machine fails no build.
//!
//! The **session**: bootstrap, 10 calls one after the other and 10 at once, each of which echoes
//! 64 bytes, then an orderly end. It runs as
//!
//! - `ours`: a run of an empty plan, with everything that is on by default: tracked messages and
//!   objects, the digest, the measured stack, pinned entropy, a thread of its own, the checks;
//! - `bare`: capnp-rpc on `futures::executor::LocalPool` and a `VecDeque` as pipe, nothing else;
//! - `bare-thread`: the same, each session on a fresh thread.
//!
//! The **backlog** (`backlog-ours`, `backlog-bare`, `backlog-bare-thread`): the built-in scenario
//! with N calls, against the same calls on `LocalPool`, each in a process of its own.
//!
//! Both sides use the system's allocator.
//!
//! ```text
//! cargo bench -p dismantle --bench overhead
//! ```
//!
//! A single variant, for a profiler; `count` is sessions, or the calls of the backlog:
//!
//! ```text
//! overhead <variant> <count>
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null <target/release/deps/overhead-…> ours 100
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null <target/release/deps/overhead-…> ours 300
//! ```
//!
//! Instructions per session are the difference of two such counts by the difference of their
//! sessions, so that the start of the process cancels.
//!
//! # Measured
//!
//! rustc 1.95.0, profile `release`, glibc 2.36's malloc on both sides, capnp-rpc 0.27.3, valgrind
//! 3.19, a virtual machine with two x86-64 cores that other builds were using. Instructions repeat
//! to 0.1 %, times do not.
//!
//! | session | instructions | ratio of ours | CPU | ratio of ours |
//! |---|---|---|---|---|
//! | `ours` | 1,963,349 | | 220.5 µs | |
//! | `bare` | 1,447,931 | 1.356 | 157.6 µs | 1.41 |
//! | `bare-thread` | 1,515,024 | 1.296 | 189.3 µs | 1.16 |
//!
//! The CPU times are from before the protocol check, which makes 187,500 of the instructions of
//! `ours`.
//!
//! | backlog, 100,000 calls | CPU | ratio of ours | peak memory | ratio of ours |
//! |---|---|---|---|---|
//! | `backlog-ours` | 1,205 ms | | 1,075 MiB | |
//! | `backlog-bare` | 694 ms | 1.74 | 1,003 MiB | 1.07 |
//! | `backlog-bare-thread` | 891 ms | 1.35 | 1,003 MiB | 1.07 |
//!
//! `backlog-ours` takes 10.3 times as long for 100,000 calls as for 10,000. Off the main thread
//! glibc asks the kernel for memory in small steps, which is where `backlog-bare-thread` loses.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::process::Command;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use capnp::capability::{Client, Promise};
use capnp::message::ReaderOptions;
use capnp::{Error, any_pointer, data};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{Disconnector, RpcSystem, twoparty};
use dismantle::{BUILT_IN, Harness, InProcess, Order, Scenario, findings, vocabulary};
use dismantle_sim::{Name, Options, Phase, Plan, Runner, Sim, Stopped, Value};
use dismantle_transport::compat::{self, AnyParams, AnyResults, Serve};
use dismantle_transport::{Link, Vat};
use futures::executor::{LocalPool, LocalSpawner};
use futures::future::join_all;
use futures::io::{AsyncRead, AsyncWrite};
use futures::task::LocalSpawnExt;
use rustix::time::{ClockId, clock_gettime};

/// Runs what the arguments say; also with the ledger on, see `ledger.rs`.
pub fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [variant, count] => {
            let count = count.parse().expect("a number of sessions or calls");
            one(variant, count);
        }
        // How cargo starts a benchmark; without the flag it is a test of the benchmark itself.
        _ if arguments.iter().any(|argument| argument == "--bench") => all(),
        _ => VARIANTS.into_iter().for_each(|variant| one(variant, 10)),
    }
}

const VARIANTS: [&str; 5] = [
    "ours",
    "bare",
    "bare-thread",
    "backlog-ours",
    "backlog-bare",
];

fn one(variant: &str, count: u32) {
    let ours = Ours::new();
    match variant {
        "ours" => (0..count).for_each(|_| ours.session()),
        "bare" => (0..count).for_each(|_| bare::session()),
        "bare-thread" => (0..count).for_each(|_| bare::on_a_thread(bare::session)),
        "backlog-ours" => backlog_ours(count),
        "backlog-bare" => bare::backlog(count),
        "backlog-bare-thread" => bare::on_a_thread(move || bare::backlog(count)),
        _ => panic!("no variant `{variant}`; there are {VARIANTS:?}"),
    }
    println!("{} {}", cpu_us(), peak_kib());
}

/// Sessions of one variant in a row; long enough for the clock, short enough to alternate.
const BATCH: u32 = 20;
const ROUNDS: usize = 200;
const BACKLOG_ROUNDS: usize = 5;

fn all() {
    let ours = Ours::new();
    let variants: [(&str, &dyn Fn()); 3] = [
        ("ours", &|| ours.session()),
        ("bare", &bare::session),
        ("bare-thread", &|| bare::on_a_thread(bare::session)),
    ];
    println!("session: CPU in µs, median of {ROUNDS} rounds of {BATCH} each, interleaved");
    let mut rounds: [Vec<f64>; 3] = Default::default();
    // The first round warms up.
    for round in 0..=ROUNDS {
        for ((_, session), spent) in variants.iter().zip(&mut rounds) {
            let before = cpu_us();
            (0..BATCH).for_each(|_| session());
            if round > 0 {
                spent.push((cpu_us() - before) as f64 / f64::from(BATCH));
            }
        }
    }
    for ((variant, _), spent) in variants.iter().zip(&rounds) {
        println!("  {variant:<12} {:8.1}", median(spent));
    }
    println!("  ours / bare        {:.3}", ratio(&rounds[0], &rounds[1]));
    println!("  ours / bare-thread {:.3}", ratio(&rounds[0], &rounds[2]));

    println!("backlog: each run in a process of its own, median of {BACKLOG_ROUNDS} rounds");
    let cases = [
        ("backlog-ours", 10_000),
        ("backlog-ours", 100_000),
        ("backlog-bare", 100_000),
        ("backlog-bare-thread", 100_000),
    ];
    let mut spent: [Vec<f64>; 4] = Default::default();
    let mut peaks: [Vec<f64>; 4] = Default::default();
    for _ in 0..BACKLOG_ROUNDS {
        for (case, (variant, calls)) in cases.into_iter().enumerate() {
            let (cpu_us, peak_kib) = in_a_process(variant, calls);
            spent[case].push(cpu_us);
            peaks[case].push(peak_kib);
        }
    }
    for (case, (variant, calls)) in cases.into_iter().enumerate() {
        println!(
            "  {variant:<19} {calls:>6} calls {:6.0} ms {:6.0} MiB",
            median(&spent[case]) / 1e3,
            median(&peaks[case]) / 1024.0
        );
    }
    let [small, ours, bare, bare_thread] = &spent;
    println!("  CPU, ours / bare           {:.3}", ratio(ours, bare));
    println!(
        "  CPU, ours / bare-thread    {:.3}",
        ratio(ours, bare_thread)
    );
    println!(
        "  memory, ours / bare        {:.3}",
        ratio(&peaks[1], &peaks[2])
    );
    println!("  CPU, ours, 100,000/10,000  {:.1}", ratio(ours, small));
}

/// The median of the rounds' own ratios: what else the machine does hits both sides of a round.
fn ratio(these: &[f64], those: &[f64]) -> f64 {
    let pairs = these.iter().zip(those);
    median(&pairs.map(|(this, that)| this / that).collect::<Vec<_>>())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// CPU time of this process, its ended threads included.
fn cpu_us() -> u64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}

/// The greatest resident size of this process. `getrusage` would count its parent's, too.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let words = line.and_then(|line| line.split_whitespace().next());
    words.and_then(|kib| kib.parse().ok()).expect("a number")
}

fn in_a_process(variant: &str, count: u32) -> (f64, f64) {
    let program = std::env::current_exe().expect("we were started");
    let output = Command::new(program)
        .args([variant, &count.to_string()])
        .output()
        .expect("it starts once more");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("two numbers");
    let mut numbers = text.split_whitespace().map(|word| word.parse::<f64>());
    match (numbers.next(), numbers.next()) {
        (Some(Ok(cpu_us)), Some(Ok(peak_kib))) => (cpu_us, peak_kib),
        _ => panic!("not two numbers: {text}"),
    }
}

const CALLS: u8 = 10;
const PAYLOAD_BYTES: usize = 64;

/// Answers with the bytes that it is given.
struct Echo<T>(T);

impl<T: 'static> Serve for Echo<T> {
    fn call(
        self: Rc<Self>,
        _interface_id: u64,
        _method_id: u16,
        params: AnyParams,
        mut results: AnyResults,
    ) -> Promise<(), Error> {
        let echoed = (|| {
            let data: &[u8] = params.get()?.get_as()?;
            set(results.get(), data);
            Ok(())
        })();
        match echoed {
            Ok(()) => Promise::ok(()),
            Err(error) => Promise::err(error),
        }
    }
}

fn set(pointer: any_pointer::Builder<'_>, bytes: &[u8]) {
    let data: data::Builder<'_> = pointer.initn_as(bytes.len() as u32);
    data.copy_from_slice(bytes);
}

async fn echo(server: &Client, number: u8) {
    let payload = [number; PAYLOAD_BYTES];
    let sent = compat::send(server, 1, 0, |params| {
        set(params, &payload);
        Ok(())
    });
    let response = sent.promise.await.expect("echo never fails");
    let answer: &[u8] = response
        .get()
        .and_then(|root| root.get_as())
        .expect("a blob");
    assert_eq!(answer, payload);
}

/// The session's calls, the same for all variants.
async fn workload(server: Client) {
    for number in 0..CALLS {
        echo(&server, number).await;
    }
    join_all((0..CALLS).map(|number| echo(&server, number))).await;
}

struct Ours {
    runner: Runner,
    plan: Plan,
}

impl Ours {
    fn new() -> Self {
        Self {
            runner: Runner::new(),
            plan: Plan::new(vocabulary(&Session)),
        }
    }

    fn session(&self) {
        let report = self
            .runner
            .run(&self.plan, &Options::default(), |sim| Session.run(sim));
        assert!(findings(&report).is_empty(), "{:?}", findings(&report));
        assert!(report.stack_bytes.teardown.is_some(), "measured");
    }
}

struct Session;

impl Scenario for Session {
    fn name(&self) -> &'static str {
        "session"
    }

    fn about(&self) -> &'static str {
        "bootstrap, 10 calls one after the other, 10 at once, an orderly end"
    }

    fn run(&self, sim: &Sim) -> Result<(), Stopped> {
        let (_link, client, server, disconnector, bootstrap) = sim.enter(Phase::Build, || {
            let (link, client_end, server_end) = Link::new(sim);
            let client = Vat::new(sim, Side::Client, client_end, None);
            let echo = sim.track(Name::new("server", "echo"), ());
            let server = Vat::new(
                sim,
                Side::Server,
                server_end,
                Some(compat::client(Rc::new(Echo(echo)))),
            );
            let disconnector = client.disconnector();
            let bootstrap = client.bootstrap();
            client.start();
            server.start();
            Ok((link, client, server, disconnector, bootstrap))
        })?;
        sim.enter(Phase::Drive, || {
            let work = sim.spawn_must_end(Name::new("client", "work"), workload(bootstrap));
            sim.run_until(&work)?;
            Ok(())
        })?;
        sim.enter(Phase::Teardown, || {
            let end = sim.spawn_must_end(Name::new("client", "disconnect"), disconnector);
            sim.run_until(&end)?;
            sim.settle()?;
            client.drop_system()?;
            server.drop_system()
        })
    }
}

fn backlog_ours(calls: u32) {
    let scenario = dismantle::find(BUILT_IN, "backlog").expect("built in");
    let mut plan = Plan::new(vocabulary(scenario));
    plan.set("calls", &Value::Count(calls.into()))
        .expect("its parameter");
    let ran = InProcess::new(BUILT_IN).run(Order::of(&plan));
    let report = ran.expect("a scenario of ours").report;
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

/// Upstream alone.
mod bare {
    use super::*;

    pub fn session() {
        let mut pool = LocalPool::new();
        let system = System::new(&pool.spawner());
        pool.run_until(workload(system.bootstrap));
        pool.run_until(system.disconnector).expect("a clean end");
        pool.run_until_stalled();
    }

    #[expect(clippy::disallowed_methods, reason = "the thread is what is compared")]
    pub fn on_a_thread(run: impl FnOnce() + Send + 'static) {
        let thread = std::thread::spawn(run);
        thread.join().expect("it never panics");
    }

    /// The scenario `backlog` with its defaults: connected, then the server reads no more; the
    /// calls, a task for each; disconnect; destroy.
    pub fn backlog(calls: u32) {
        let mut pool = LocalPool::new();
        let system = System::new(&pool.spawner());
        pool.run_until_stalled();
        system.to_server.0.borrow_mut().stalled = true;
        for number in 1..=calls {
            let sent = compat::send(&system.bootstrap, number.into(), 0, |_| Ok(()));
            drop(sent.pipeline);
            spawn(&pool.spawner(), async { drop(sent.promise.await) });
        }
        pool.run_until_stalled();
        spawn(&pool.spawner(), async { drop(system.disconnector.await) });
        pool.run_until_stalled();
        drop(system.bootstrap);
        drop(pool);
    }

    struct System {
        bootstrap: Client,
        disconnector: Disconnector<Side>,
        to_server: Pipe,
    }

    impl System {
        fn new(spawner: &LocalSpawner) -> Self {
            let (to_server, to_client) = (Pipe::default(), Pipe::default());
            let network = |reader, writer, side| {
                twoparty::VatNetwork::new(End(reader), End(writer), side, ReaderOptions::new())
            };
            let server = network(to_server.clone(), to_client.clone(), Side::Server);
            let server = RpcSystem::new(Box::new(server), Some(compat::client(Rc::new(Echo(())))));
            let client = network(to_client, to_server.clone(), Side::Client);
            let mut client = RpcSystem::new(Box::new(client), None);
            let system = Self {
                bootstrap: client.bootstrap(Side::Server),
                disconnector: client.get_disconnector(),
                to_server,
            };
            spawn(spawner, async { drop(client.await) });
            spawn(spawner, async { drop(server.await) });
            system
        }
    }

    fn spawn(spawner: &LocalSpawner, task: impl Future<Output = ()> + 'static) {
        spawner.spawn_local(task).expect("the pool is there");
    }

    #[derive(Clone, Default)]
    struct Pipe(Rc<RefCell<State>>);

    #[derive(Default)]
    struct State {
        bytes: VecDeque<u8>,
        closed: bool,
        stalled: bool,
        reader: Option<Waker>,
    }

    /// One end of one direction; dropping either closes it.
    struct End(Pipe);

    impl Drop for End {
        fn drop(&mut self) {
            let mut state = self.0.0.borrow_mut();
            state.closed = true;
            if let Some(waker) = state.reader.take() {
                waker.wake();
            }
        }
    }

    impl AsyncRead for End {
        fn poll_read(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            let mut state = self.0.0.borrow_mut();
            if state.stalled || state.bytes.is_empty() && !state.closed {
                state.reader = Some(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(io::Read::read(&mut state.bytes, buffer))
        }
    }

    impl AsyncWrite for End {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let mut state = self.0.0.borrow_mut();
            if state.closed {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            state.bytes.extend(bytes);
            if let Some(waker) = state.reader.take() {
                waker.wake();
            }
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.0.0.borrow_mut().closed = true;
            Poll::Ready(Ok(()))
        }
    }
}
