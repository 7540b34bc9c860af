//! Does a pipe that is cut deliver exactly the bytes before the cut?
#![allow(missing_docs)]

use dismantle_sim::{Limits, Name, Phase, Plan, Report, Sim, Value, Vocabulary, run};
use dismantle_transport::Link;
use futures::{AsyncReadExt, AsyncWriteExt};

const BYTES: u64 = 20;

fn plan(answers: &[(&str, &str)]) -> Plan {
    let mut questions = dismantle_sim::questions().to_vec();
    questions.extend(dismantle_transport::questions());
    let mut plan = Plan::new(Vocabulary {
        scenario: "cut",
        limits: Limits::default(),
        parameters: &[],
        questions,
    });
    for (name, value) in answers {
        plan.set(name, &Value::from_text(value)).expect("known");
    }
    plan
}

/// The client writes twenty bytes in writes of `write`, the server reads to the end: what it got,
/// and how the reading and the peer's next write ended.
fn carried(answers: &[(&str, &str)], write: usize) -> (Vec<u8>, String, String, Report) {
    let seen = std::sync::Mutex::new((Vec::new(), String::new(), String::new()));
    let report = run(&plan(answers), |sim: &Sim| {
        sim.enter(Phase::Drive, || {
            let (_link, mut client, mut server) = Link::new(sim);
            let reads = sim.spawn(Name::new("server", "reads"), async move {
                let (mut got, mut buffer) = (Vec::new(), [0; 7]);
                loop {
                    match server.reader.read(&mut buffer).await {
                        Ok(0) => return (got, "end".to_owned(), server),
                        Ok(count) => got.extend(&buffer[..count]),
                        Err(error) => return (got, error.kind().to_string(), server),
                    }
                }
            });
            let writes = sim.spawn(Name::new("client", "writes"), async move {
                for chunk in (0..BYTES as u8).collect::<Vec<_>>().chunks(write) {
                    if client.writer.write_all(chunk).await.is_err() {
                        break;
                    }
                }
                client
            });
            sim.settle()?;
            let mut client = sim.run_until(&writes)?.expect("writes are taken at once");
            let after = sim.spawn(Name::new("client", "writes"), async move {
                let result = client.writer.write(&[0]).await;
                (result, client)
            });
            let (after, client) = sim.run_until(&after)?.expect("taken at once");
            let after = after.map_or_else(|error| error.kind().to_string(), |_| "taken".to_owned());
            drop(client);
            sim.settle()?;
            let (got, end, server) = sim.run_until(&reads)?.expect("the writer is gone");
            drop(server);
            *seen.lock().expect("one thread") = (got, end, after);
            Ok(())
        })
    });
    assert!(report.panics.is_empty(), "{:?}", report.panics);
    let (got, end, after) = seen.into_inner().expect("one thread");
    (got, end, after, report)
}

#[test]
fn every_byte_before_the_cut_arrives_and_none_behind_it() {
    for delivery in ["at-once", "byte"] {
        for write in [1, 3, 20] {
            for byte in 0..=BYTES {
                for (how, end, after) in [
                    ("reset", "connection reset", "connection reset"),
                    ("half-close", "end", "broken pipe"),
                ] {
                    let answers = [
                        ("pipe.c2s.delivery", delivery),
                        ("pipe.c2s.cut.how", how),
                        ("pipe.c2s.cut.byte", &byte.to_string()),
                    ];
                    let (got, ended, next, report) = carried(&answers, write);
                    assert_eq!(got, (0..byte as u8).collect::<Vec<_>>(), "{answers:?}");
                    assert_eq!(ended, end, "{answers:?}");
                    assert_eq!(next, after, "{answers:?}");
                    let pipe = Name::new("pipe", "c2s");
                    assert_eq!(report.carried[&pipe], byte);
                }
            }
        }
    }
}

#[test]
fn without_a_cut_all_arrive_and_are_counted() {
    let (got, ended, next, report) = carried(&[], 3);
    assert_eq!(got.len() as u64, BYTES + 1, "and the one that follows");
    assert_eq!((ended.as_str(), next.as_str()), ("end", "taken"));
    assert_eq!(report.carried[&Name::new("pipe", "c2s")], BYTES + 1);
    assert_eq!(report.carried[&Name::new("pipe", "s2c")], 0);
}
