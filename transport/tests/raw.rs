//! Can a raw peer hold a legal conversation with a vat, to a clean end on both sides?
#![allow(clippy::unwrap_used, missing_docs)]

use std::cell::RefCell;
use std::rc::Rc;

use capnp::Error;
use capnp::capability::{Client, Promise};
use capnp_rpc::rpc_twoparty_capnp::Side;
use dismantle_sim::{
    Limits, Name, Options, Phase, Plan, Runner, Sim, Stopped, Tracked, Value, Vocabulary,
};
use dismantle_transport::compat::{self, AnyParams, AnyResults, Serve};
use dismantle_transport::{Descriptor, Link, Outcome, RawPeer, Says, Target, Vat, frame};

fn plan(answers: &[(&str, &str)]) -> Plan {
    let mut questions = dismantle_sim::questions().to_vec();
    questions.extend(dismantle_transport::questions());
    let mut plan = Plan::new(Vocabulary {
        scenario: "raw",
        limits: Limits::default(),
        parameters: &[],
        questions,
    });
    for (name, value) in answers {
        plan.set(name, &Value::from_text(value)).unwrap();
    }
    plan
}

/// Runs `body` to a clean and complete end.
fn clean(answers: &[(&str, &str)], body: impl FnOnce(&Sim) -> Result<(), Stopped> + Send) {
    let run = Runner::new();
    let report = run.run(&plan(answers), &Options::default(), body);
    assert_eq!(report.panics, []);
    assert_eq!(report.limit, None);
    assert!(report.pending.iter().all(|pending| !pending.must_end));
    assert!(
        report.never_destroyed.is_empty(),
        "{:?}",
        report.never_destroyed
    );
}

struct Object(Tracked<()>);

impl Serve for Object {
    /// Gives a new object.
    fn call(
        self: Rc<Self>,
        _: u64,
        _: u16,
        _: AnyParams,
        mut results: AnyResults,
    ) -> Promise<(), Error> {
        let made = object(self.0.sim(), "made");
        results.get().set_as_capability(made.hook);
        Promise::ok(())
    }
}

fn object(sim: &Sim, kind: &'static str) -> Client {
    compat::client(Rc::new(Object(sim.track(Name::new("server", kind), ()))))
}

struct World {
    link: Link,
    peer: RawPeer,
    vat: Vat,
    raw: Client,
}

fn connect(sim: &Sim) -> World {
    let (link, peer_end, vat_end) = Link::new(sim);
    let vat = Vat::new(sim, Side::Server, vat_end, Some(object(sim, "bootstrap")));
    let raw = vat.bootstrap();
    vat.start();
    World {
        link,
        peer: RawPeer::new(sim, "raw", peer_end),
        vat,
        raw,
    }
}

impl World {
    /// What the vat says until it has nothing more to say.
    fn heard(&self, sim: &Sim) -> Result<Vec<Says>, Stopped> {
        sim.settle()?;
        Ok(self
            .peer
            .hear()
            .into_iter()
            .map(|heard| heard.says)
            .collect())
    }

    fn end(self, sim: &Sim) -> Result<(), Stopped> {
        self.peer.close();
        sim.settle()?;
        assert!(self.vat.has_ended(), "the vat has seen the end of file");
        let vat = self.vat;
        sim.act(Name::new("test", "drop"), || drop((self.peer, self.raw)))?;
        vat.drop_system()?;
        drop(self.link);
        Ok(())
    }
}

fn converse(sim: &Sim) -> Result<(), Stopped> {
    let world = sim.enter(Phase::Build, || Ok(connect(sim)))?;
    sim.enter(Phase::Drive, || {
        let peer = &world.peer;
        assert_eq!(world.heard(sim)?, [Says::Bootstrap { question: 0 }]);

        peer.send(&frame(|message| {
            message.init_bootstrap().set_question_id(7)
        }));
        let returned = |answer, export, no_finish_needed| Says::Return {
            answer,
            outcome: Outcome::Results(vec![Descriptor::SenderHosted(export)]),
            no_finish_needed,
        };
        assert_eq!(world.heard(sim)?, [returned(7, 0, false)]);

        // A call on the answer, and one on the import.
        peer.send(&frame(|message| {
            let mut call = message.init_call();
            call.set_question_id(8);
            call.init_target().init_promised_answer().set_question_id(7);
        }));
        assert_eq!(world.heard(sim)?, [returned(8, 1, false)]);
        peer.send(&frame(|message| {
            let mut call = message.init_call();
            call.set_question_id(9);
            call.init_target().set_imported_cap(0);
        }));
        assert_eq!(world.heard(sim)?, [returned(9, 2, false)]);

        // The vat calls what it got for its bootstrap question, before it has it.
        let sent = compat::send(&world.raw, 1, 2, |_| Ok(()));
        drop(sent.pipeline);
        let answered = Rc::new(RefCell::new(None));
        let answer = answered.clone();
        sim.spawn_must_end(Name::new("server", "call"), async move {
            *answer.borrow_mut() = Some(sent.promise.await.map(drop));
        });
        let call = Says::Call {
            question: 1,
            target: Target::Answer(0),
            caps: vec![],
        };
        assert_eq!(world.heard(sim)?, [call]);
        peer.send(&frame(|message| message.init_return().set_answer_id(1)));
        let finished = Says::Finish {
            question: 1,
            release_result_caps: false,
        };
        assert_eq!(world.heard(sim)?, [finished]);
        assert!(matches!(*answered.borrow(), Some(Ok(()))));

        // The one it keeps is released, the others go with their finish.
        for (question, release) in [(7, true), (8, true), (9, false)] {
            peer.send(&frame(|message| {
                let mut finish = message.init_finish();
                finish.set_question_id(question);
                finish.set_release_result_caps(release);
            }));
        }
        peer.send(&frame(|message| {
            let mut release = message.init_release();
            release.set_id(2);
            release.set_reference_count(1);
        }));
        assert_eq!(world.heard(sim)?, []);
        // The tables are empty: ids are used again from 0, by the question and the export.
        peer.send(&frame(|message| {
            message.init_bootstrap().set_question_id(8)
        }));
        assert_eq!(world.heard(sim)?, [returned(8, 0, false)]);
        Ok(())
    })?;
    sim.enter(Phase::Teardown, || world.end(sim))
}

#[test]
fn a_legal_conversation_is_understood_and_ends_clean() {
    clean(&[], converse);
}

#[test]
fn it_does_not_matter_how_the_pipe_cuts_it() {
    for (name, value) in [
        ("write_max", "3"),
        ("read_max", "5"),
        ("capacity", "7"),
        ("delivery", "byte"),
        ("delay_us", "100"),
    ] {
        let both = ["c2s", "s2c"].map(|pipe| format!("pipe.{pipe}.{name}"));
        clean(&[(&both[0], value), (&both[1], value)], converse);
    }
}

#[test]
fn wrong_words_end_the_connection_with_a_reason() {
    clean(&[], |sim| {
        let world = sim.enter(Phase::Build, || Ok(connect(sim)))?;
        sim.enter(Phase::Drive, || {
            world.heard(sim)?;
            world
                .peer
                .send(&frame(|message| message.init_return().set_answer_id(99)));
            let said = world.heard(sim)?;
            let [Says::Abort { kind: 0, reason }] = &said[..] else {
                panic!("no abort: {said:?}");
            };
            assert!(reason.contains("Invalid question ID"), "{reason}");
            assert!(world.peer.has_ended(), "end of file behind it");
            Ok(())
        })?;
        sim.enter(Phase::Teardown, || world.end(sim))
    });
}

#[test]
fn half_a_frame_and_noise_are_no_messages() {
    for bytes in [&[0, 0, 0, 0, 5, 0][..], &[0xff; 64], &[0; 8]] {
        clean(&[], |sim| {
            let world = sim.enter(Phase::Build, || Ok(connect(sim)))?;
            sim.enter(Phase::Drive, || {
                world.heard(sim)?;
                world.peer.send(bytes);
                world.peer.close();
                let said = world.heard(sim)?;
                assert!(matches!(&said[..], [Says::Abort { .. }]), "{said:?}");
                Ok(())
            })?;
            sim.enter(Phase::Teardown, || world.end(sim))
        });
    }
}

#[test]
fn what_was_heard_can_be_given_back() {
    clean(&[], |sim| {
        let world = sim.enter(Phase::Build, || Ok(connect(sim)))?;
        sim.enter(Phase::Drive, || {
            sim.settle()?;
            let heard = world.peer.hear();
            world.peer.send(&heard[0].echo().unwrap());
            let said = world.heard(sim)?;
            let [Says::Abort { reason, .. }] = &said[..] else {
                panic!("no abort: {said:?}");
            };
            assert!(reason.contains("did not implement"), "{reason}");
            Ok(())
        })?;
        sim.enter(Phase::Teardown, || world.end(sim))
    });
}
