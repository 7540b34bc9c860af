//! Is a vat held to what it says at its end: what is written, and why calls fail?
#![allow(clippy::unwrap_used, missing_docs)]

use std::rc::Rc;

use capnp::capability::{Client, Promise};
use capnp::{Error, ErrorKind};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{Connection, FlowController, IncomingMessage, OutgoingMessage, VatNetwork};
use dismantle_sim::{Limits, Name, Plan, Report, Sim, Stopped, Value, Vocabulary, run};
use dismantle_transport::compat::{self, AnyParams, AnyResults, Serve};
use dismantle_transport::{AnyNetwork, Errors, Link, Vat, exception};
use futures::TryFutureExt;

fn plan(answers: &[(&str, &str)]) -> Plan {
    let mut questions = dismantle_sim::questions().to_vec();
    questions.extend(dismantle_transport::questions());
    let mut plan = Plan::new(Vocabulary {
        scenario: "ending",
        limits: Limits::default(),
        parameters: &[],
        questions,
    });
    for (name, value) in answers {
        plan.set(name, &Value::from_text(value)).unwrap();
    }
    plan
}

/// The rules of one property that were broken, in order.
fn rules(report: &Report, property: &str) -> Vec<String> {
    assert_eq!(report.panics, []);
    let of = report.breaches.iter();
    of.filter(|breach| breach.property == property)
        .map(|breach| breach.rule.clone())
        .collect()
}

struct Object;

impl Serve for Object {
    fn call(
        self: Rc<Self>,
        _: u64,
        _: u16,
        params: AnyParams,
        _: AnyResults,
    ) -> Promise<(), Error> {
        drop(params);
        Promise::ok(())
    }
}

fn call(target: &Client) -> impl Future<Output = Result<(), Error>> + use<> {
    let sent = compat::send(target, 1, 0, |_| Ok(()));
    sent.promise.map_ok(drop)
}

/// What upstream's network does with a shutdown, and what a test puts in its place.
#[derive(Clone, Copy)]
enum Lie {
    None,
    /// The shutdown is complete at once.
    Shutdown,
    /// It is complete at once, and nobody was asked for it.
    Unasked,
    /// Every message is sent at once.
    Sent,
}

struct Lying(AnyNetwork, Lie);

impl VatNetwork<Side> for Lying {
    fn connect(&mut self, host: Side) -> Option<Box<dyn Connection<Side>>> {
        let inner = self.0.connect(host)?;
        Some(Box::new(LyingConnection(inner, self.1)))
    }

    fn accept(&mut self) -> Promise<Box<dyn Connection<Side>>, Error> {
        let lie = self.1;
        let lying = move |inner| Box::new(LyingConnection(inner, lie)) as Box<dyn Connection<Side>>;
        Promise::from_future(self.0.accept().map_ok(lying))
    }

    fn drive_until_shutdown(&mut self) -> Promise<(), Error> {
        self.0.drive_until_shutdown()
    }
}

struct LyingConnection(Box<dyn Connection<Side>>, Lie);

impl Connection<Side> for LyingConnection {
    fn get_peer_vat_id(&self) -> Side {
        self.0.get_peer_vat_id()
    }

    fn new_outgoing_message(&mut self, words: u32) -> Box<dyn OutgoingMessage> {
        let inner = self.0.new_outgoing_message(words);
        match self.1 {
            Lie::Sent => Box::new(LyingMessage(inner)),
            _ => inner,
        }
    }

    fn receive_incoming_message(&mut self) -> Promise<Option<Box<dyn IncomingMessage>>, Error> {
        self.0.receive_incoming_message()
    }

    fn new_stream(&mut self) -> (Box<dyn FlowController>, Promise<(), Error>) {
        self.0.new_stream()
    }

    fn shutdown(&mut self, result: capnp::Result<()>) -> Promise<(), Error> {
        if let Lie::Unasked = self.1 {
            return Promise::ok(());
        }
        let shutdown = self.0.shutdown(result);
        match self.1 {
            Lie::Shutdown => Promise::ok(()),
            _ => shutdown,
        }
    }
}

struct LyingMessage(Box<dyn OutgoingMessage>);

impl OutgoingMessage for LyingMessage {
    fn get_body(&mut self) -> capnp::Result<capnp::any_pointer::Builder<'_>> {
        self.0.get_body()
    }

    fn get_body_as_reader(&self) -> capnp::Result<capnp::any_pointer::Reader<'_>> {
        self.0.get_body_as_reader()
    }

    fn send(
        self: Box<Self>,
    ) -> (
        Promise<(), Error>,
        Rc<capnp::message::Builder<capnp::message::HeapAllocator>>,
    ) {
        let (_, body) = self.0.send();
        (Promise::ok(()), body)
    }

    fn take(self: Box<Self>) -> capnp::message::Builder<capnp::message::HeapAllocator> {
        self.0.take()
    }

    fn size_in_words(&self) -> usize {
        self.0.size_in_words()
    }
}

/// A client makes a call and disconnects before it was written.
fn disconnects(sim: &Sim, lie: Lie) -> Result<(), Stopped> {
    let (_link, client_end, server_end) = Link::new(sim);
    let lying = |network| Box::new(Lying(network, lie)) as AnyNetwork;
    let client = match lie {
        Lie::Unasked => Vat::through(sim, Side::Client, client_end, None, lying),
        _ => Vat::upon(sim, Side::Client, client_end, None, lying),
    };
    let served = Some(compat::client(Rc::new(Object)));
    let server = Vat::new(sim, Side::Server, server_end, served);
    let (bootstrap, disconnector) = (client.bootstrap(), client.disconnector());
    client.start();
    server.start();
    let answer = call(&bootstrap);
    let done = sim.spawn_must_end(Name::new("client", "disconnect"), disconnector);
    sim.spawn(Name::new("client", "call"), answer.unwrap_or_else(drop));
    assert!(sim.run_until(&done)?.unwrap().is_ok());
    sim.settle()?;
    drop(bootstrap);
    client.drop_system()?;
    server.drop_system()
}

#[test]
fn what_waits_for_the_last_byte_is_not_early() {
    if !compat::CAPNP_RPC_VERSION.starts_with("0.27.") {
        // Upstream's disconnector did not wait before (capnproto-rust #583).
        return;
    }
    for capacity in ["0", "1", "64"] {
        let plan = plan(&[("pipe.c2s.capacity", capacity)]);
        let report = run(&plan, |sim| disconnects(sim, Lie::None));
        assert_eq!(rules(&report, "early-completion"), [""; 0], "{capacity}");
    }
}

#[test]
fn a_shutdown_that_does_not_wait_is_early() {
    let plan = plan(&[("pipe.c2s.capacity", "1")]);
    let report = run(&plan, |sim| disconnects(sim, Lie::Shutdown));
    let rules = rules(&report, "early-completion");
    let expected = "a shutdown is complete before its messages are written";
    assert_eq!(
        rules.first().map(String::as_str),
        Some(expected),
        "{rules:?}"
    );
}

#[test]
fn a_disconnector_whose_connection_goes_on_is_early() {
    let report = run(&plan(&[]), |sim| disconnects(sim, Lie::Unasked));
    let expected = "a disconnector ends and its connection does not";
    assert_eq!(rules(&report, "early-completion"), [expected]);
}

#[test]
fn a_message_is_not_sent_before_it_is_written() {
    let plan = plan(&[("pipe.c2s.capacity", "1")]);
    let report = run(&plan, |sim| disconnects(sim, Lie::Sent));
    let rules = rules(&report, "early-completion");
    // The bootstrap, the call and the abort.
    let expected = "a message counts as sent before it is written";
    assert_eq!(
        rules.iter().filter(|rule| *rule == expected).count(),
        3,
        "{rules:?}"
    );
}

/// What is said of an error that a client's call ends with while its connection is on.
fn judged(error: &Error) -> Vec<String> {
    let report = run(&plan(&[]), |sim| {
        let (_link, end, _peer) = Link::new(sim);
        let vat = Vat::new(sim, Side::Client, end, None);
        let errors = Errors::new(sim);
        errors.watch(&vat);
        errors.failed(Name::new("client", "call"), error);
        let cancelled = Error::failed("oneshot was canceled".to_owned());
        errors.cancelled();
        errors.failed(Name::new("client", "other"), &cancelled);
        Ok(())
    });
    rules(&report, "wrong-error")
}

fn error(kind: ErrorKind, said: &str) -> Error {
    Error {
        kind,
        extra: said.to_owned(),
    }
}

#[test]
fn an_exception_keeps_its_type() {
    for kind in [
        ErrorKind::Failed,
        ErrorKind::Overloaded,
        ErrorKind::Disconnected,
        ErrorKind::Unimplemented,
    ] {
        let said = format!("remote exception: {}", exception(kind).extra);
        assert_eq!(judged(&error(kind, &said)), [""; 0]);
        let other = match kind {
            ErrorKind::Failed => ErrorKind::Overloaded,
            _ => ErrorKind::Failed,
        };
        let rules = judged(&error(other, &said));
        assert_eq!(rules, ["an exception changes its type on the way"]);
    }
}

#[test]
fn a_disconnect_says_why() {
    let peer = "Peer disconnected.";
    assert_eq!(judged(&error(ErrorKind::Disconnected, peer)), [""; 0]);
    for said in ["", "remote exception: "] {
        let rules = judged(&error(ErrorKind::Disconnected, said));
        assert_eq!(rules, ["a disconnect does not say why"]);
    }
}

#[test]
fn channels_of_upstream_answer_nobody() {
    let rules = judged(&error(ErrorKind::Failed, "SenderQueue canceled"));
    let expected = "a call that nobody cancelled fails as Failed: SenderQueue canceled";
    assert_eq!(rules, [expected]);
    assert_eq!(judged(&error(ErrorKind::Failed, "no such file")), [""; 0]);
}

/// The kind of error of a call whose answer is cut by `fault`, and what is said of it.
fn cut(fault: &str, byte: &str) -> (ErrorKind, Vec<String>) {
    let plan = plan(&[
        ("pipe.s2c.fault.0.what", fault),
        ("pipe.s2c.fault.0.when", "return"),
        ("pipe.s2c.fault.0.at", "2"),
        ("pipe.s2c.fault.0.byte", byte),
    ]);
    let kind = std::sync::Mutex::new(None);
    let report = run(&plan, |sim| {
        let (_link, client_end, server_end) = Link::new(sim);
        let client = Vat::new(sim, Side::Client, client_end, None);
        let served = Some(compat::client(Rc::new(Object)));
        let server = Vat::new(sim, Side::Server, server_end, served);
        let bootstrap = client.bootstrap();
        client.start();
        server.start();
        let name = Name::new("client", "call");
        let task = sim.spawn_must_end(name, call(&bootstrap));
        let error = sim.run_until(&task)?.unwrap().unwrap_err();
        let errors = Errors::new(sim);
        errors.watch(&client);
        errors.failed(name, &error);
        *kind.lock().unwrap() = Some(error.kind);
        sim.settle()?;
        drop(bootstrap);
        client.drop_system()?;
        server.drop_system()
    });
    let kind = kind.into_inner().unwrap().unwrap();
    (kind, rules(&report, "wrong-error"))
}

#[test]
fn a_lost_connection_is_a_disconnect_wherever_it_is_cut() {
    assert_eq!(cut("half-close", "0"), (ErrorKind::Disconnected, vec![]));
    assert_eq!(cut("reset", "9"), (ErrorKind::Disconnected, vec![]));
    // An error of reading that is injected is what it is.
    assert_eq!(cut("read-error", "9"), (ErrorKind::Failed, vec![]));
    // Upstream's own answer depends on where the connection ends, and is found to be wrong.
    let (kind, rules) = cut("half-close", "9");
    match kind {
        ErrorKind::Disconnected => assert_eq!(rules, [""; 0]),
        kind => assert_eq!(
            rules,
            [format!("a lost connection fails its calls as {kind:?}")]
        ),
    }
}
