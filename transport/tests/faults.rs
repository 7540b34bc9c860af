//! Does every fault do what its words say, when they say it?
#![allow(clippy::unwrap_used, missing_docs)]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::rc::Rc;
use std::task::Poll;

use dismantle_sim::{
    Event, Limits, Name, Options, Plan, Report, Runner, Seed, Sim, Stopped, Value, Vocabulary,
};
use dismantle_transport::{End, Link, Reader};
use futures::FutureExt;
use futures::io::{AsyncReadExt, AsyncWriteExt};

fn plan(text: &str) -> Plan {
    let mut questions = dismantle_sim::questions().to_vec();
    questions.extend(dismantle_transport::questions());
    let mut plan = Plan::new(Vocabulary {
        scenario: "faults",
        limits: Limits::default(),
        parameters: &[],
        questions,
    });
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(" = ").unwrap();
        plan.set(name, &Value::from_text(value)).unwrap();
    }
    plan
}

/// A message with this union tag in its root struct, of `size` bytes in all.
fn message(tag: u8, size: usize) -> Vec<u8> {
    assert!(size >= 24);
    assert_eq!(size % 8, 0);
    let mut bytes = vec![0, 0, 0, 0];
    bytes.extend((size as u32 / 8 - 1).to_le_bytes());
    bytes.extend([0, 0, 0, 0, 1, 0, 0, 0, tag, 0]);
    bytes.resize(size, 0xee);
    bytes
}

const CALL: u8 = 2;
const SIZE: usize = 80;

/// How one end of a pipe ended: `None` while it waits.
type Ended = Option<Result<(), ErrorKind>>;

#[derive(Clone, Default, Debug)]
struct Seen {
    /// For each message, in order: was it taken?
    writes: Vec<Ended>,
    /// The same of the flush behind each.
    flushes: Vec<Ended>,
    closed: Ended,
    got: Vec<u8>,
    /// `Ok` is end of file.
    read: Ended,
}

/// Each direction's messages are all 80 bytes long.
#[derive(Clone)]
struct Traffic {
    /// The tags of the client's messages; one an operation.
    tags: Vec<u8>,
    /// The client's system rests after each operation.
    rests: bool,
    /// Both close their writers at the end.
    closes: bool,
    /// The client drops its writer at the end.
    drops: bool,
    /// Faults are over before the first operation.
    healed: bool,
}

fn calls(count: usize) -> Traffic {
    Traffic {
        tags: vec![CALL; count],
        rests: true,
        closes: false,
        drops: false,
        healed: false,
    }
}

struct Ran {
    c2s: Seen,
    s2c: Seen,
    report: Report,
}

impl Ran {
    fn events(&self, kind: &str) -> Vec<&Event> {
        let trace = self.report.trace.as_ref().unwrap();
        trace
            .iter()
            .filter(|event| event.kind.text() == kind)
            .collect()
    }

    /// The time and the first number of each event of a kind.
    fn times(&self, kind: &str) -> Vec<(u64, u64)> {
        let pair = |event: &&Event| (event.time_us, event.numbers[0]);
        self.events(kind).iter().map(pair).collect()
    }

    fn faults(&self) -> usize {
        self.events("fault").len()
    }
}

async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn read_all(mut reader: Reader, seen: Rc<RefCell<Seen>>) {
    let mut buffer = [0; 500];
    let end = loop {
        match reader.read(&mut buffer).await {
            Ok(0) => break Ok(()),
            Ok(count) => seen.borrow_mut().got.extend(&buffer[..count]),
            Err(error) => break Err(error.kind()),
        }
    };
    seen.borrow_mut().read = Some(end);
    // Keeps the end open.
    std::future::pending::<()>().await;
    drop(reader);
}

fn body(sim: &Sim, traffic: &Traffic, seen: [Rc<RefCell<Seen>>; 2]) -> Result<(), Stopped> {
    let (link, client, server) = Link::new(sim);
    let End { reader, mut writer } = client;
    let End {
        reader: server_reader,
        writer: mut server_writer,
    } = server;
    sim.spawn(
        Name::new("server", "read"),
        read_all(server_reader, seen[0].clone()),
    );
    sim.spawn(
        Name::new("client", "read"),
        read_all(reader, seen[1].clone()),
    );
    if traffic.healed {
        sim.heal();
    }
    for (number, tag) in (1..).zip(&traffic.tags) {
        sim.operation(number);
        link.operation(number);
        let kind = |result: std::io::Result<()>| result.map_err(|error| error.kind());
        // Without a bound on the capacity a write is taken at once.
        let writers = [(&mut writer, *tag), (&mut server_writer, 3)];
        for ((writer, tag), seen) in writers.into_iter().zip(&seen) {
            let written = writer.write_all(&message(tag, SIZE)).now_or_never();
            let flushed = writer.flush().now_or_never();
            seen.borrow_mut().writes.push(written.map(kind));
            seen.borrow_mut().flushes.push(flushed.map(kind));
        }
        if traffic.rests {
            sim.settle()?;
            link.rest(number);
        }
    }
    if traffic.closes {
        for (writer, seen) in [&mut writer, &mut server_writer].into_iter().zip(&seen) {
            let closed = writer.close().now_or_never();
            seen.borrow_mut().closed = closed.map(|result| result.map_err(|error| error.kind()));
        }
    }
    if traffic.drops {
        drop(writer);
        sim.settle()?;
    } else {
        sim.settle()?;
        drop(writer);
    }
    link.report_stalls(sim);
    Ok(())
}

fn ran(plan: &Plan, seed: Option<Seed>, traffic: &Traffic) -> Ran {
    let options = Options {
        seed,
        trace: true,
        record: true,
        ..Options::default()
    };
    let mut seen = [Seen::default(), Seen::default()];
    let report = Runner::new().run(plan, &options, |sim| {
        let shared: [Rc<RefCell<Seen>>; 2] = Default::default();
        body(sim, traffic, shared.clone())?;
        seen = shared.map(|shared| shared.borrow().clone());
        Ok(())
    });
    assert_eq!(report.panics, []);
    assert_eq!(report.limit, None);
    let [c2s, s2c] = seen;
    Ran { c2s, s2c, report }
}

/// A run of `traffic` with these decisions; a fault named here is one of the client's pipe.
fn with(text: &str, traffic: &Traffic) -> Ran {
    ran(&plan(text), None, traffic)
}

/// The end of the first `count` writes, then of the rest of `total`.
fn taken_then(count: usize, total: usize, then: Ended) -> Vec<Ended> {
    let mut writes = vec![Some(Ok(())); count];
    writes.resize(total, then);
    writes
}

const BROKEN: Ended = Some(Err(ErrorKind::BrokenPipe));
const RESET: Ended = Some(Err(ErrorKind::ConnectionReset));
const INJECTED: Ended = Some(Err(ErrorKind::Other));
const EOF: Ended = Some(Ok(()));

#[test]
fn nothing_breaks_by_default() {
    let ran = with("", &calls(4));
    for seen in [&ran.c2s, &ran.s2c] {
        assert_eq!(seen.writes, taken_then(4, 4, None));
        assert_eq!(seen.flushes, taken_then(4, 4, None));
        assert_eq!(seen.got.len(), 4 * SIZE);
        assert_eq!(seen.read, None);
    }
    assert_eq!(ran.faults(), 0);
    assert_eq!(ran.events("woken-in-vain").len(), 0);
    assert_eq!(ran.report.time_us, 0);
    assert_eq!(ran.report.held, []);
}

#[test]
fn a_half_close_at_an_operation_ends_one_direction_behind_its_backlog() {
    for rests in [true, false] {
        let traffic = Traffic { rests, ..calls(4) };
        let ran = with(
            "pipe.c2s.fault.0.what = half-close
             pipe.c2s.fault.0.at = 3
             pipe.c2s.delay_us = 700",
            &traffic,
        );
        assert_eq!(ran.c2s.writes, taken_then(2, 4, BROKEN));
        assert_eq!(ran.c2s.got.len(), 2 * SIZE, "the backlog arrives");
        assert_eq!(ran.c2s.read, EOF);
        assert_eq!(ran.s2c.writes, taken_then(4, 4, None));
        assert_eq!(ran.s2c.read, None);
        assert_eq!(ran.faults(), 1);
    }
}

#[test]
fn a_reset_at_an_operation_kills_both_directions_and_loses_their_backlog() {
    for rests in [true, false] {
        let traffic = Traffic { rests, ..calls(4) };
        let ran = with(
            "pipe.c2s.fault.0.what = reset
             pipe.c2s.fault.0.at = 3
             pipe.c2s.delay_us = 700",
            &traffic,
        );
        for seen in [&ran.c2s, &ran.s2c] {
            assert_eq!(seen.writes, taken_then(2, 4, RESET));
            assert_eq!(seen.got.len(), if rests { 2 * SIZE } else { 0 });
            assert_eq!(seen.read, RESET);
        }
    }
}

#[test]
fn a_read_error_at_an_operation_fails_the_reader_only() {
    let ran = with(
        "pipe.c2s.fault.0.what = read-error
         pipe.c2s.fault.0.at = 3",
        &calls(4),
    );
    assert_eq!(ran.c2s.read, INJECTED);
    assert_eq!(ran.c2s.got.len(), 2 * SIZE);
    assert_eq!(ran.c2s.writes, taken_then(4, 4, None));
    assert_eq!(ran.s2c.read, None);
}

#[test]
fn a_write_error_at_an_operation_fails_the_writer_only() {
    let ran = with(
        "pipe.c2s.fault.0.what = write-error
         pipe.c2s.fault.0.at = 3
         pipe.c2s.delay_us = 700",
        &Traffic {
            rests: false,
            ..calls(4)
        },
    );
    assert_eq!(ran.c2s.writes, taken_then(2, 4, INJECTED));
    assert_eq!(ran.c2s.got.len(), 2 * SIZE, "what was taken still arrives");
    assert_eq!(ran.c2s.read, None);
    assert_eq!(ran.s2c.writes, taken_then(4, 4, None));
}

#[test]
fn a_flush_error_at_an_operation_fails_flushes_only() {
    let ran = with(
        "pipe.c2s.fault.0.what = flush-error
         pipe.c2s.fault.0.at = 3",
        &Traffic {
            closes: true,
            ..calls(4)
        },
    );
    assert_eq!(ran.c2s.writes, taken_then(4, 4, None));
    assert_eq!(ran.c2s.flushes, taken_then(2, 4, INJECTED));
    assert_eq!(ran.c2s.got.len(), 4 * SIZE, "what was taken still arrives");
    assert_eq!(ran.c2s.closed, EOF);
    assert_eq!(ran.s2c.flushes, taken_then(4, 4, None));
}

#[test]
fn a_close_error_fails_the_close_and_leaves_the_pipe_open() {
    let text = "pipe.c2s.fault.0.what = close-error
                pipe.c2s.fault.0.at = 2";
    let traffic = Traffic {
        closes: true,
        ..calls(3)
    };
    let ran = with(text, &traffic);
    assert_eq!(ran.c2s.writes, taken_then(3, 3, None));
    assert_eq!(ran.c2s.flushes, taken_then(3, 3, None));
    assert_eq!((ran.c2s.closed, ran.c2s.read), (INJECTED, None));
    assert_eq!((ran.s2c.closed, ran.s2c.read), (Some(Ok(())), EOF));
    let dropped = with(
        text,
        &Traffic {
            drops: true,
            ..traffic
        },
    );
    assert_eq!((dropped.c2s.closed, dropped.c2s.read), (INJECTED, EOF));
}

/// When a flush and then a close behind one message end, and when its bytes were read.
fn flushed_and_closed_us(text: &str) -> [u64; 3] {
    let mut times = [0; 3];
    let report = Runner::new().run(&plan(text), &Options::default(), |sim| {
        let (link, client, server) = Link::new(sim);
        link.operation(1);
        let (clock, mut writer) = (sim.clone(), client.writer);
        let writing = sim.spawn(Name::new("test", "write"), async move {
            writer.write_all(&message(CALL, SIZE)).await.unwrap();
            writer.flush().await.unwrap();
            let flushed = clock.now_us();
            writer.close().await.unwrap();
            (flushed, clock.now_us())
        });
        let (clock, mut reader) = (sim.clone(), server.reader);
        let reading = sim.spawn(Name::new("test", "read"), async move {
            let mut bytes = [0; SIZE];
            reader.read_exact(&mut bytes).await.unwrap();
            let read = clock.now_us();
            assert_eq!(reader.read(&mut bytes).await.unwrap(), 0);
            read
        });
        sim.settle()?;
        let (flushed, closed) = writing.take().unwrap();
        times = [flushed, closed, reading.take().unwrap()];
        Ok(())
    });
    assert_eq!(report.panics, []);
    times
}

#[test]
fn flushes_and_closes_wait_for_delivery_if_the_plan_says_so() {
    let waits = "pipe.c2s.flush = delivered";
    assert_eq!(flushed_and_closed_us(waits), [0, 0, 0]);
    let delay = "pipe.c2s.delay_us = 700";
    assert_eq!(flushed_and_closed_us(delay), [0, 0, 700]);
    let delayed = format!("{delay}\n{waits}");
    assert_eq!(flushed_and_closed_us(&delayed), [700, 700, 700]);
    let stall = "pipe.c2s.fault.0.what = stall\npipe.c2s.fault.0.stall_us = 2500";
    assert_eq!(flushed_and_closed_us(stall), [0, 0, 2500]);
    let stalled = format!("{stall}\n{waits}");
    assert_eq!(flushed_and_closed_us(&stalled), [2500, 2500, 2500]);
}

#[test]
fn a_waiting_flush_ends_with_what_breaks_the_pipe() {
    for (what, ended) in [
        ("reset", RESET),
        ("write-error", INJECTED),
        ("flush-error", INJECTED),
        ("half-close", BROKEN),
    ] {
        let text = format!(
            "pipe.c2s.flush = delivered
             pipe.c2s.fault.0.what = stall-for-good
             pipe.c2s.fault.1.what = {what}
             pipe.c2s.fault.1.when = time
             pipe.c2s.fault.1.at = 3"
        );
        let report = Runner::new().run(&plan(&text), &Options::default(), |sim| {
            let (link, client, server) = Link::new(sim);
            link.operation(1);
            let mut writer = client.writer;
            let flushing = sim.spawn(Name::new("test", "flush"), async move {
                writer.write_all(&message(CALL, SIZE)).await.unwrap();
                writer.flush().await
            });
            sim.settle()?;
            let flushed = flushing.take();
            let flushed = flushed.map(|result| result.map_err(|error| error.kind()));
            assert_eq!(flushed, ended, "{what}");
            assert_eq!(sim.now_us(), 3000, "{what}");
            drop((server, client.reader));
            Ok(())
        });
        assert_eq!(report.panics, []);
    }
}

#[test]
fn a_stall_holds_back_for_its_time_and_ends() {
    let ran = with(
        "pipe.c2s.fault.0.what = stall
         pipe.c2s.fault.0.at = 2
         pipe.c2s.fault.0.stall_us = 2500",
        &Traffic {
            rests: false,
            ..calls(3)
        },
    );
    assert_eq!(ran.c2s.writes, taken_then(3, 3, None));
    assert_eq!(ran.c2s.got.len(), 3 * SIZE);
    assert_eq!(ran.times("stall-over"), [(2500, 0)]);
    let read = Name::new("pipe", "c2s");
    let read = ran.events("read").into_iter().find(|e| e.subject == read);
    assert_eq!(read.unwrap().time_us, 2500);
    assert_eq!(ran.report.held, []);
}

#[test]
fn two_stalls_at_once_last_as_long_as_the_longer_one() {
    let ran = with(
        "pipe.c2s.fault.0.what = stall
         pipe.c2s.fault.0.stall_us = 1000
         pipe.c2s.fault.1.what = stall
         pipe.c2s.fault.1.stall_us = 5000",
        &Traffic {
            rests: false,
            ..calls(1)
        },
    );
    let read = Name::new("pipe", "c2s");
    let read = ran.events("read").into_iter().find(|e| e.subject == read);
    assert_eq!(read.unwrap().time_us, 5000);
}

#[test]
fn a_stall_for_good_holds_back_to_the_end_and_is_reported() {
    let ran = with(
        "pipe.c2s.fault.0.what = stall-for-good
         pipe.c2s.fault.0.at = 2",
        &calls(3),
    );
    assert_eq!(ran.c2s.writes, taken_then(3, 3, None));
    assert_eq!(ran.c2s.got.len(), SIZE);
    assert_eq!(ran.c2s.read, None);
    let [held] = &ran.report.held[..] else {
        panic!("one pipe is held, not {:?}", ran.report.held);
    };
    assert_eq!(held.by, Name::new("pipe", "c2s"));
    assert_eq!(held.fault, "stall-for-good");
    assert_eq!(held.count, 2 * SIZE as u64);
    assert_eq!(ran.s2c.got.len(), 3 * SIZE);
}

#[test]
fn a_fault_at_a_rest_strikes_when_the_owner_has_seen_it() {
    let ran = with(
        "pipe.s2c.fault.1.what = half-close
         pipe.s2c.fault.1.when = rest
         pipe.s2c.fault.1.at = 2",
        &calls(4),
    );
    assert_eq!(ran.s2c.writes, taken_then(2, 4, BROKEN));
    assert_eq!(ran.s2c.got.len(), 2 * SIZE);
    assert_eq!(ran.s2c.read, EOF);
    assert_eq!(ran.c2s.writes, taken_then(4, 4, None));
    let never = with(
        "pipe.s2c.fault.1.what = half-close
         pipe.s2c.fault.1.when = rest",
        &Traffic {
            rests: false,
            ..calls(4)
        },
    );
    assert_eq!(never.faults(), 0);
}

#[test]
fn a_fault_at_a_time_strikes_at_that_millisecond() {
    let ran = with(
        "pipe.c2s.fault.0.what = reset
         pipe.c2s.fault.0.when = time
         pipe.c2s.fault.0.at = 7
         pipe.c2s.delivery = message
         pipe.c2s.delay_us = 2000",
        &Traffic {
            rests: false,
            ..calls(5)
        },
    );
    assert_eq!(ran.times("fault"), [(7000, 2)]);
    assert_eq!(ran.c2s.got.len(), 3 * SIZE, "at 2, 4 and 6 ms");
    assert_eq!(ran.c2s.read, RESET);
}

/// The traffic for faults at messages: two kinds, so that a count of one is not that of all.
fn mixed() -> Traffic {
    Traffic {
        tags: vec![8, CALL, 6, CALL, CALL, 6],
        ..calls(0)
    }
}

/// The second Call is the fourth message; ten of its bytes arrive.
const AT_CALL: &str = "
    pipe.c2s.fault.0.when = call
    pipe.c2s.fault.0.at = 2
    pipe.c2s.fault.0.byte = 10
    pipe.c2s.fault.0.stall_us = 3000
";
const UP_TO: usize = 3 * SIZE + 10;

fn at_call(what: &str, more: &str, traffic: &Traffic) -> Ran {
    with(
        &format!("pipe.c2s.fault.0.what = {what}\n{AT_CALL}{more}"),
        traffic,
    )
}

#[test]
fn a_half_close_within_a_message_loses_what_lies_behind() {
    for (rests, taken) in [(true, 4), (false, 6)] {
        let ran = at_call("half-close", "", &Traffic { rests, ..mixed() });
        assert_eq!(ran.c2s.got.len(), UP_TO);
        assert_eq!(ran.c2s.read, EOF);
        assert_eq!(ran.c2s.writes, taken_then(taken, 6, BROKEN));
        assert_eq!(ran.s2c.got.len(), 6 * SIZE);
    }
}

#[test]
fn a_reset_within_a_message_lets_its_first_bytes_through() {
    for (rests, taken) in [(true, 4), (false, 6)] {
        let ran = at_call("reset", "", &Traffic { rests, ..mixed() });
        assert_eq!(ran.c2s.got.len(), UP_TO);
        assert_eq!(ran.c2s.read, RESET);
        assert_eq!(ran.c2s.writes, taken_then(taken, 6, RESET));
        assert_eq!(ran.s2c.read, RESET);
    }
}

#[test]
fn a_read_error_within_a_message_lets_its_first_bytes_through() {
    let ran = at_call("read-error", "", &mixed());
    assert_eq!(ran.c2s.got.len(), UP_TO);
    assert_eq!(ran.c2s.read, INJECTED);
    assert_eq!(ran.c2s.writes, taken_then(6, 6, None));
}

#[test]
fn a_write_error_within_a_message_fails_the_next_write() {
    let ran = at_call("write-error", "", &mixed());
    assert_eq!(ran.c2s.got.len(), 4 * SIZE);
    assert_eq!(ran.c2s.read, None);
    assert_eq!(ran.c2s.writes, taken_then(4, 6, INJECTED));
}

#[test]
fn a_stall_within_a_message_delays_its_other_bytes() {
    let ran = at_call(
        "stall",
        "",
        &Traffic {
            rests: false,
            ..mixed()
        },
    );
    assert_eq!(ran.c2s.got.len(), 6 * SIZE);
    let read: Vec<_> = ran
        .events("read")
        .into_iter()
        .filter(|e| e.subject.kind() == "c2s")
        .collect();
    let at = |time| {
        read.iter()
            .filter(|e| e.time_us == time)
            .map(|e| e.numbers[0])
            .sum::<u64>()
    };
    assert_eq!(at(0), UP_TO as u64);
    assert_eq!(at(3000), (6 * SIZE - UP_TO) as u64);
}

#[test]
fn a_stall_for_good_within_a_message_keeps_back_its_other_bytes() {
    let ran = at_call("stall-for-good", "", &mixed());
    assert_eq!(ran.c2s.got.len(), UP_TO);
    assert_eq!(ran.c2s.read, None);
    assert_eq!(ran.report.held[0].count, (6 * SIZE - UP_TO) as u64);
}

#[test]
fn a_place_in_a_message_does_not_depend_on_how_the_bytes_are_cut() {
    for cut in [
        "pipe.c2s.write_max = 1",
        "pipe.c2s.read_max = 7",
        "pipe.c2s.delivery = byte",
        "pipe.c2s.delivery = message\npipe.c2s.write_max = 3",
        "pipe.c2s.delay_us = 9",
    ] {
        let ran = at_call("half-close", cut, &mixed());
        assert_eq!(ran.c2s.got.len(), UP_TO, "{cut}");
        assert_eq!(ran.c2s.read, EOF, "{cut}");
    }
}

#[test]
fn a_place_beyond_a_message_is_its_end() {
    let ran = at_call("reset", "pipe.c2s.fault.0.byte = 1000", &mixed());
    assert_eq!(ran.c2s.got.len(), 4 * SIZE);
    assert_eq!(ran.c2s.read, RESET);
}

#[test]
fn messages_are_counted_by_kind() {
    let traffic = Traffic {
        tags: vec![8, 2, 3, 4, 5, 6, 13, 1, 2],
        ..calls(0)
    };
    let words = [
        ("bootstrap", 1, 0),
        ("call", 1, 1),
        ("call", 2, 8),
        ("return", 1, 2),
        ("finish", 1, 3),
        ("resolve", 1, 4),
        ("release", 1, 5),
        ("disembargo", 1, 6),
        ("abort", 1, 7),
        ("message", 4, 3),
    ];
    for (when, at, before) in words {
        let ran = with(
            &format!(
                "pipe.c2s.fault.0.what = half-close
                 pipe.c2s.fault.0.when = {when}
                 pipe.c2s.fault.0.at = {at}"
            ),
            &traffic,
        );
        assert_eq!(ran.c2s.got.len(), before * SIZE, "{when} {at}");
        assert_eq!(ran.c2s.read, EOF, "{when} {at}");
    }
    let never = with(
        "pipe.c2s.fault.0.what = half-close
         pipe.c2s.fault.0.when = call
         pipe.c2s.fault.0.at = 3",
        &traffic,
    );
    assert_eq!(never.faults(), 0);
    let untapped = with(
        "pipe.c2s.fault.0.what = half-close
         pipe.c2s.fault.0.when = message
         pipe.c2s.tap = off",
        &traffic,
    );
    assert_eq!(untapped.faults(), 0);
}

#[test]
fn a_dropped_writer_closes_unless_the_plan_keeps_it_open() {
    let traffic = Traffic {
        drops: true,
        ..calls(2)
    };
    let closed = with("pipe.c2s.delay_us = 5", &traffic);
    assert_eq!(closed.c2s.read, EOF);
    let open = with(
        "pipe.c2s.delay_us = 5\npipe.c2s.on_drop = stays-open",
        &traffic,
    );
    assert_eq!(open.c2s.read, None);
    for ran in [closed, open] {
        assert_eq!(ran.c2s.got.len(), 2 * SIZE);
        assert_eq!(ran.s2c.read, None);
    }
}

#[test]
fn after_the_healing_nothing_breaks() {
    let text = "pipe.c2s.fault.0.what = reset
                pipe.c2s.fault.0.at = 2
                pipe.s2c.fault.0.what = half-close
                pipe.s2c.fault.0.when = message
                pipe.s2c.fault.1.what = read-error
                pipe.s2c.fault.1.when = time";
    assert_eq!(with(text, &calls(3)).faults(), 3);
    let healed = with(
        text,
        &Traffic {
            healed: true,
            ..calls(3)
        },
    );
    assert_eq!(healed.faults(), 0);
    assert_eq!(healed.c2s.got.len(), 3 * SIZE);
    assert_eq!(healed.s2c.got.len(), 3 * SIZE);
    assert_eq!(healed.s2c.read, None);
}

#[test]
fn a_reset_kills_both_directions_without_the_link_too() {
    let options = Options::default();
    let plan = plan("pipe.c2s.fault.0.what = reset\npipe.c2s.fault.0.when = time");
    let seen = Runner::new().run(&plan, &options, |sim| {
        let (link, client, server) = Link::new(sim);
        drop(link);
        let ends = [client.reader, server.reader].map(|mut reader| {
            sim.spawn(Name::new("test", "read"), async move {
                reader.read(&mut [0]).await
            })
        });
        sim.settle()?;
        for end in ends {
            let kind = end.take().map(|read| read.unwrap_err().kind());
            assert_eq!(kind, Some(ErrorKind::ConnectionReset));
        }
        drop((client.writer, server.writer));
        Ok(())
    });
    assert_eq!(seen.panics, []);
}

#[test]
fn a_capacity_pushes_back_until_the_reader_has_read() {
    let ran = with(
        "pipe.c2s.capacity = 100",
        &Traffic {
            rests: false,
            ..calls(2)
        },
    );
    // The second is cut: 20 bytes of it are in the pipe.
    assert_eq!(ran.c2s.writes, [Some(Ok(())), None]);
    assert_eq!(ran.c2s.got.len(), 100);
    let rested = with("pipe.c2s.capacity = 100", &calls(2));
    assert_eq!(rested.c2s.got.len(), 2 * SIZE);
}

#[test]
fn bounds_of_single_writes_and_reads_hold() {
    let ran = with("pipe.c2s.write_max = 7\npipe.s2c.read_max = 9", &calls(2));
    let numbers = |kind: &str, pipe: &str| {
        let events = ran
            .events(kind)
            .into_iter()
            .filter(|e| e.subject.kind() == pipe);
        events.map(|e| e.numbers[0]).max().unwrap()
    };
    assert_eq!(numbers("written", "c2s"), 7);
    assert_eq!(numbers("written", "s2c"), SIZE as u64);
    assert_eq!(numbers("read", "s2c"), 9);
    assert_eq!(ran.c2s.got.len() + ran.s2c.got.len(), 4 * SIZE);
}

#[test]
fn deliveries_are_bytes_or_messages_and_take_their_time() {
    let traffic = Traffic {
        rests: false,
        ..calls(3)
    };
    let by_byte = with("pipe.c2s.delivery = byte", &traffic);
    assert_eq!(by_byte.times("delivered"), vec![(0, 1); 3 * SIZE]);
    let by_message = with(
        "pipe.c2s.delivery = message\npipe.c2s.delay_us = 40",
        &traffic,
    );
    let size = SIZE as u64;
    assert_eq!(
        by_message.times("delivered"),
        [(40, size), (80, size), (120, size)]
    );
    let together = with("pipe.c2s.delay_us = 40", &traffic);
    assert_eq!(together.times("delivered"), [(40, 3 * size)]);
    assert_eq!(with("", &traffic).times("delivered"), []);
}

/// The bytes of each read of three messages, between which the writer lets others run.
fn reads_of_three(text: &str) -> Vec<u64> {
    let options = Options {
        trace: true,
        ..Options::default()
    };
    let report = Runner::new().run(&plan(text), &options, |sim| {
        let (_link, client, server) = Link::new(sim);
        let seen = Rc::<RefCell<Seen>>::default();
        let reading = read_all(server.reader, seen.clone());
        sim.spawn(Name::new("test", "read"), reading);
        let mut writer = client.writer;
        sim.spawn(Name::new("test", "write"), async move {
            for _ in 0..3 {
                writer.write_all(&message(CALL, SIZE)).await.unwrap();
                writer.flush().await.unwrap();
                yield_now().await;
            }
            writer.close().await.unwrap();
        });
        sim.settle()?;
        assert_eq!(
            (seen.borrow().got.len(), seen.borrow().read),
            (3 * SIZE, EOF)
        );
        Ok(())
    });
    assert_eq!(report.panics, []);
    let read = |event: &&Event| event.kind.text() == "read";
    let trace = report.trace.unwrap();
    trace.iter().filter(read).map(|e| e.numbers[0]).collect()
}

#[test]
fn several_writes_arrive_as_one_if_they_are_coalesced() {
    let size = SIZE as u64;
    assert_eq!(reads_of_three(""), [size; 3]);
    assert_eq!(reads_of_three("pipe.c2s.delivery = message"), [size; 3]);
    assert_eq!(reads_of_three("pipe.c2s.delivery = coalesced"), [3 * size]);
    // Who waits for the delivery pauses until then.
    let flushed = "pipe.c2s.delivery = coalesced\npipe.c2s.flush = delivered";
    assert_eq!(reads_of_three(flushed), [size; 3]);
}

#[test]
fn a_waiting_end_is_woken_in_vain_so_many_times_for_each_true_wake_up() {
    let ran = with("pipe.c2s.spurious = 2", &calls(3));
    // The reader waits once behind each of three messages.
    let in_vain = ran.events("woken-in-vain");
    assert_eq!(in_vain.len(), 2 * 3);
    assert!(
        in_vain
            .iter()
            .all(|e| e.subject == Name::new("pipe", "c2s"))
    );
    let polls = |ran: &Ran| {
        let reader = Name::new("server", "read");
        let polls = ran.events("poll").into_iter();
        polls.filter(|event| event.subject == reader).count()
    };
    assert_eq!(polls(&ran), polls(&with("", &calls(3))) + 2 * 3);
    assert_eq!(ran.c2s.got.len(), 3 * SIZE);
    let blocked = with("pipe.c2s.spurious = 3\npipe.c2s.capacity = 100", &calls(2));
    assert_eq!(blocked.c2s.got.len(), 2 * SIZE);
    let healed = Traffic {
        healed: true,
        ..calls(3)
    };
    let healed = with("pipe.c2s.spurious = 2", &healed);
    assert_eq!(healed.events("woken-in-vain").len(), 0);
}

#[test]
fn every_fault_fires_under_some_seed_at_every_kind_of_time() {
    let traffic = Traffic {
        tags: vec![8, 2, 1, 3, 4, 5, 1, 6, 13, 1, 2],
        ..calls(0)
    };
    let (mut whats, mut whens) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..4000 {
        let ran = ran(&plan(""), Some(Seed(seed)), &traffic);
        let answers = ran.report.answers.as_ref().unwrap();
        let answer = |path: String| {
            let given = answers.iter().find(|(name, _)| *name == path);
            given.map(|(_, value)| value.to_string())
        };
        let asked: Vec<(String, String)> = ["c2s", "s2c"]
            .into_iter()
            .flat_map(|pipe| [0, 1].map(|fault| format!("pipe.{pipe}.fault.{fault}")))
            .filter_map(|fault| {
                let when = answer(format!("{fault}.when"));
                let when = when.unwrap_or_else(|| "operation".to_owned());
                Some((answer(format!("{fault}.what"))?, when))
            })
            .collect();
        // Only then it is plain which one has fired.
        if let ([(what, when)], 1) = (&asked[..], ran.faults()) {
            whats.insert(what.clone());
            whens.insert(when.clone());
        }
    }
    let words = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(
        words(&whats),
        "close-error flush-error half-close read-error reset stall stall-for-good write-error"
    );
    assert_eq!(
        words(&whens),
        "abort bootstrap call disembargo finish message operation release resolve rest return time"
    );
}

#[test]
fn half_of_the_seeds_break_nothing() {
    let quiet = (0..400)
        .filter(|seed| {
            ran(&plan(""), Some(Seed(*seed)), &calls(0))
                .report
                .answers
                .unwrap()
                .iter()
                .all(|(path, _)| !path.contains(".what"))
        })
        .count();
    assert!((200..320).contains(&quiet), "{quiet} of 400");
}
