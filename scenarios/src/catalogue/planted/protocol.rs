//! A vat that breaks the protocol, and a peer that does not mind.

use std::cell::RefCell;
use std::rc::Rc;

use capnp::capability::Promise;
use capnp::{Error, any_pointer};
use capnp_rpc::rpc_capnp::message;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{Connection, IncomingMessage, OutgoingMessage, VatNetwork};
use dismantle_sim::{Name, Phase, Question, Sim, Stopped};
use dismantle_transport::compat::{self, Sent};
use dismantle_transport::{AnyNetwork, with_streaming};
use futures::TryFutureExt;

use super::{CHANCE, CLEAN, strikes};
use crate::catalogue::object::{Call, Objects, call};
use crate::catalogue::session::Session;
use crate::check::Class;
use crate::scenario::{Planted, Scenario};

/// Finishes every question twice; capnp-rpc ignores a Finish that it does not expect.
pub struct PlantedProtocol;

impl Scenario for PlantedProtocol {
    fn name(&self) -> &'static str {
        "planted-protocol"
    }

    fn about(&self) -> &'static str {
        "a client that finishes every question twice (protocol)"
    }

    fn parameters(&self) -> &'static [Question] {
        std::slice::from_ref(&CHANCE)
    }

    fn questions(&self) -> Vec<&'static [Question]> {
        vec![&crate::catalogue::object::QUESTIONS]
    }

    fn planted(&self) -> Option<Planted> {
        Some(Planted {
            class: Class::Protocol,
            clean: CLEAN,
        })
    }

    fn run(&self, sim: &Sim) -> Result<(), Stopped> {
        let objects = Objects::new(sim);
        let twice = strikes(sim);
        // Nothing else goes wrong: a broken pipe would show upstream's own bugs.
        sim.heal();
        let mut session = sim.enter(Phase::Build, || {
            let wrap = |network| -> AnyNetwork {
                match twice {
                    true => Box::new(Network(network)),
                    false => network,
                }
            };
            Ok(Session::through(sim, objects.make("server", 0), wrap))
        })?;
        sim.enter(Phase::Drive, || {
            if let Some(server) = &session.server {
                let id = Call::new(1, 0);
                let sent = call(server, id, "new", None);
                drop(sent.pipeline);
                let answer = async { drop(sent.promise.await) };
                sim.spawn(Name::new("client", "call"), answer);
            }
            sim.settle()
        })?;
        sim.enter(Phase::Teardown, || {
            if !session.disconnect()? {
                session.link.report_stalls(sim);
            }
            session.destroy()?;
            sim.act(Name::new("owner", "forget"), || objects.forget())?;
            Ok(())
        })
    }
}

/// A network whose connections have the bug.
struct Network(AnyNetwork);

impl VatNetwork<Side> for Network {
    fn connect(&mut self, host: Side) -> Option<Box<dyn Connection<Side>>> {
        self.0.connect(host).map(Twice::wrap)
    }

    fn accept(&mut self) -> Promise<Box<dyn Connection<Side>>, Error> {
        Promise::from_future(self.0.accept().map_ok(Twice::wrap))
    }

    fn drive_until_shutdown(&mut self) -> Promise<(), Error> {
        self.0.drive_until_shutdown()
    }
}

type Shared = Rc<RefCell<Box<dyn Connection<Side>>>>;

/// A connection that sends every Finish twice.
struct Twice(Shared);

impl Twice {
    fn wrap(connection: Box<dyn Connection<Side>>) -> Box<dyn Connection<Side>> {
        Box::new(Self(Rc::new(RefCell::new(connection))))
    }
}

impl Connection<Side> for Twice {
    fn get_peer_vat_id(&self) -> Side {
        self.0.borrow().get_peer_vat_id()
    }

    fn new_outgoing_message(&mut self, first_segment_words: u32) -> Box<dyn OutgoingMessage> {
        let message = self
            .0
            .borrow_mut()
            .new_outgoing_message(first_segment_words);
        Box::new(Message {
            message,
            connection: self.0.clone(),
        })
    }

    fn receive_incoming_message(&mut self) -> Promise<Option<Box<dyn IncomingMessage>>, Error> {
        self.0.borrow_mut().receive_incoming_message()
    }

    with_streaming! {
        fn new_stream(&mut self) -> (Box<dyn capnp_rpc::FlowController>, Promise<(), Error>) {
            self.0.borrow_mut().new_stream()
        }
    }

    fn shutdown(&mut self, result: capnp::Result<()>) -> Promise<(), Error> {
        self.0.borrow_mut().shutdown(result)
    }
}

struct Message {
    message: Box<dyn OutgoingMessage>,
    connection: Shared,
}

impl Message {
    /// The question that it finishes, if it is a Finish.
    fn finished(&self) -> Option<u32> {
        let root = self.message.get_body_as_reader().ok()?;
        let root: message::Reader<'_> = root.get_as().ok()?;
        match root.which() {
            Ok(message::Finish(finish)) => Some(finish.ok()?.get_question_id()),
            _ => None,
        }
    }

    fn finish(&self, question: u32) -> capnp::Result<Box<dyn OutgoingMessage>> {
        let mut message = self.connection.borrow_mut().new_outgoing_message(5);
        let root = message.get_body()?.init_as::<message::Builder<'_>>();
        root.init_finish().set_question_id(question);
        Ok(message)
    }
}

impl OutgoingMessage for Message {
    fn get_body(&mut self) -> capnp::Result<any_pointer::Builder<'_>> {
        self.message.get_body()
    }

    fn get_body_as_reader(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        self.message.get_body_as_reader()
    }

    fn send(self: Box<Self>) -> (Promise<Sent, Error>, Rc<compat::Message>) {
        let again = self.finished().map(|question| self.finish(question));
        let sent = self.message.send();
        if let Some(Ok(again)) = again {
            drop(again.send());
        }
        sent
    }

    fn take(self: Box<Self>) -> compat::Message {
        self.message.take()
    }

    with_streaming! {
        fn size_in_words(&self) -> usize {
            self.message.size_in_words()
        }
    }
}
