//! Is a vat judged where it speaks, by itself, and only by what it says?
#![allow(clippy::unwrap_used, missing_docs)]

use std::cell::RefCell;
use std::rc::Rc;

use capnp::any_pointer;
use capnp::capability::{Client, Promise};
use capnp::message::{Builder, HeapAllocator};
use capnp::{Error, ErrorKind};
use capnp_rpc::rpc_capnp::message;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{Connection, FlowController, IncomingMessage, OutgoingMessage, VatNetwork};
use dismantle_sim::{Limits, Name, Phase, Plan, Runner, Sim, Stopped, Value, Vocabulary};
use dismantle_transport::compat::future_client;
use dismantle_transport::{AnyNetwork, Link, Vat, exception, nothing_left};
use futures::TryFutureExt;

/// Which messages a client says something after, and what.
#[derive(Clone, Copy)]
struct Slip {
    after: fn(message::Reader<'_>) -> bool,
    says: fn(message::Builder<'_>),
}

const RELEASE_AFTER_ABORT: Slip = Slip {
    after: |root| matches!(root.which(), Ok(message::Abort(_))),
    says: |root| root.init_release().set_id(0),
};

const FINISH_AFTER_FINISH: Slip = Slip {
    after: |root| matches!(root.which(), Ok(message::Finish(_))),
    says: |root| root.init_finish().set_question_id(0),
};

struct Network(AnyNetwork, Slip);

impl VatNetwork<Side> for Network {
    fn connect(&mut self, host: Side) -> Option<Box<dyn Connection<Side>>> {
        let slip = self.1;
        self.0.connect(host).map(|it| Slipping::wrap(it, slip))
    }

    fn accept(&mut self) -> Promise<Box<dyn Connection<Side>>, Error> {
        let slip = self.1;
        Promise::from_future(self.0.accept().map_ok(move |it| Slipping::wrap(it, slip)))
    }

    fn drive_until_shutdown(&mut self) -> Promise<(), Error> {
        self.0.drive_until_shutdown()
    }
}

type Shared = Rc<RefCell<Box<dyn Connection<Side>>>>;

struct Slipping(Shared, Slip);

impl Slipping {
    fn wrap(connection: Box<dyn Connection<Side>>, slip: Slip) -> Box<dyn Connection<Side>> {
        Box::new(Self(Rc::new(RefCell::new(connection)), slip))
    }
}

impl Connection<Side> for Slipping {
    fn get_peer_vat_id(&self) -> Side {
        self.0.borrow().get_peer_vat_id()
    }

    fn new_outgoing_message(&mut self, first_segment_words: u32) -> Box<dyn OutgoingMessage> {
        let mut connection = self.0.borrow_mut();
        Box::new(Message {
            message: connection.new_outgoing_message(first_segment_words),
            connection: self.0.clone(),
            slip: self.1,
        })
    }

    fn receive_incoming_message(&mut self) -> Promise<Option<Box<dyn IncomingMessage>>, Error> {
        self.0.borrow_mut().receive_incoming_message()
    }

    fn new_stream(&mut self) -> (Box<dyn FlowController>, Promise<(), Error>) {
        self.0.borrow_mut().new_stream()
    }

    fn shutdown(&mut self, result: capnp::Result<()>) -> Promise<(), Error> {
        self.0.borrow_mut().shutdown(result)
    }
}

struct Message {
    message: Box<dyn OutgoingMessage>,
    connection: Shared,
    slip: Slip,
}

impl OutgoingMessage for Message {
    fn get_body(&mut self) -> capnp::Result<any_pointer::Builder<'_>> {
        self.message.get_body()
    }

    fn get_body_as_reader(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        self.message.get_body_as_reader()
    }

    fn send(self: Box<Self>) -> (Promise<(), Error>, Rc<Builder<HeapAllocator>>) {
        let root = self.message.get_body_as_reader().unwrap();
        let slips = (self.slip.after)(root.get_as().unwrap());
        let sent = self.message.send();
        if slips {
            let mut more = self.connection.borrow_mut().new_outgoing_message(5);
            (self.slip.says)(more.get_body().unwrap().init_as());
            drop(more.send());
        }
        sent
    }

    fn take(self: Box<Self>) -> Builder<HeapAllocator> {
        self.message.take()
    }

    fn size_in_words(&self) -> usize {
        self.message.size_in_words()
    }
}

struct Session {
    client: Vat,
    server: Vat,
    bootstrap: Client,
    link: Link,
}

fn connect(sim: &Sim, slip: Option<Slip>) -> Session {
    let (link, client_end, server_end) = Link::new(sim);
    let wrap = |network| -> AnyNetwork {
        match slip {
            Some(slip) => Box::new(Network(network, slip)),
            None => network,
        }
    };
    let client = Vat::through(sim, Side::Client, client_end, None, wrap);
    // Nobody calls it.
    let served = future_client(async { Err(exception(ErrorKind::Failed)) });
    let server = Vat::new(sim, Side::Server, server_end, Some(served));
    let bootstrap = client.bootstrap();
    client.start();
    server.start();
    Session {
        client,
        server,
        bootstrap,
        link,
    }
}

/// The breaches of a run, as rule and subject.
fn breaches(
    answers: &[(&str, &str)],
    body: impl FnOnce(&Sim) -> Result<(), Stopped> + Send,
) -> Vec<(String, Name)> {
    let mut questions = dismantle_sim::questions().to_vec();
    questions.extend(dismantle_transport::questions());
    let mut plan = Plan::new(Vocabulary {
        scenario: "watch",
        limits: Limits::default(),
        parameters: &[],
        questions,
    });
    for (name, value) in answers {
        plan.set(name, &Value::from_text(value)).unwrap();
    }
    let report = Runner::new().run(&plan, &Default::default(), body);
    assert_eq!(report.panics, []);
    let breaches = report.breaches.into_iter();
    breaches
        .inspect(|breach| assert_eq!(breach.property, "protocol"))
        .map(|breach| (breach.rule, breach.subject))
        .collect()
}

/// Connects, gives up the capability, disconnects from the client's side and destroys both vats.
fn session(sim: &Sim, slip: Option<Slip>) -> Result<(), Stopped> {
    let session = connect(sim, slip);
    sim.settle()?;
    drop(session.bootstrap);
    sim.settle()?;
    sim.enter(Phase::Teardown, || {
        let disconnected = session.client.disconnector();
        let done = sim.spawn_must_end(Name::new("client", "disconnect"), disconnected);
        sim.run_until(&done)?;
        sim.settle()?;
        session.client.drop_system()?;
        session.server.drop_system()
    })
}

#[test]
fn an_honest_session_breaks_no_rule() {
    assert_eq!(breaches(&[], |sim| session(sim, None)), []);
}

#[test]
fn a_message_behind_the_abort_is_told_once_it_is_written() {
    let told = breaches(&[], |sim| session(sim, Some(RELEASE_AFTER_ABORT)));
    let rule = "message sent after an abort or a shutdown".to_owned();
    assert_eq!(told, [(rule, Name::new("client", "message"))]);
    // It may be queued all the same: what is never written is not said.
    let told = breaches(&[], |sim| {
        let session = connect(sim, Some(RELEASE_AFTER_ABORT));
        sim.settle()?;
        session.link.to_server().clog();
        sim.enter(Phase::Teardown, || {
            sim.spawn(
                Name::new("client", "disconnect"),
                session.client.disconnector(),
            );
            sim.settle()?;
            drop(session.bootstrap);
            session.client.drop_system()?;
            session.server.drop_system()
        })
    });
    assert_eq!(told, []);
}

#[test]
fn the_one_who_says_it_is_told_and_not_the_one_who_hears_it() {
    let told = breaches(&[], |sim| session(sim, Some(FINISH_AFTER_FINISH)));
    let rule = "finish of a question not in use".to_owned();
    assert_eq!(told, [(rule, Name::new("client", "finish"))]);
}

#[test]
fn a_peer_that_has_no_judge_is_told_where_it_is_heard() {
    let told = |slip: Option<Slip>, kept: bool| {
        breaches(&[("vat.client.protocol", "unchecked")], move |sim| {
            let session = connect(sim, slip);
            session.server.judge_peer("other");
            let kept = kept.then_some(session.bootstrap);
            sim.settle()?;
            nothing_left([&session.server]);
            drop(kept);
            Ok(())
        })
    };
    assert_eq!(told(None, false), []);
    let rule = "other: finish of a question not in use".to_owned();
    let finish = Name::new("other", "finish");
    assert_eq!(told(Some(FINISH_AFTER_FINISH), false), [(rule, finish)]);
    let rule = "other: question that is never finished".to_owned();
    let tables = Name::new("other", "tables");
    assert_eq!(told(None, true), [(rule, tables)]);
}

#[test]
fn a_vat_that_is_not_checked_may_say_anything() {
    let unchecked = [("vat.client.protocol", "unchecked")];
    let told = breaches(&unchecked, |sim| session(sim, Some(FINISH_AFTER_FINISH)));
    assert_eq!(told, []);
}

#[test]
fn what_a_capability_that_is_kept_holds_is_told() {
    let told = |keeps: bool| {
        breaches(&[], move |sim| {
            let session = connect(sim, None);
            let kept = keeps.then_some(session.bootstrap);
            sim.settle()?;
            nothing_left([&session.client, &session.server]);
            drop(kept);
            Ok(())
        })
    };
    // capnp-rpc 0.27.3 keeps the question of the bootstrap for as long as the capability.
    let rule = "question that is never finished".to_owned();
    assert_eq!(told(true), [(rule, Name::new("client", "tables"))]);
    assert_eq!(told(false), []);
}
