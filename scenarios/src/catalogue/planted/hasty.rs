//! Networks whose shutdown does not wait, as one that hands its bytes to somebody else may, or is
//! none.

use capnp::Error;
use capnp::capability::Promise;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{Connection, IncomingMessage, OutgoingMessage, VatNetwork};
use dismantle_sim::{Name, Phase, Question, Sim, Stopped};
use dismantle_transport::{AnyNetwork, End, Link, Vat, with_streaming};
use futures::TryFutureExt;

use super::{CHANCE, CLEAN, strikes};
use crate::catalogue::object::{Call, Objects, call};
use crate::check::Class;
use crate::scenario::{Planted, Scenario};

/// A client that says goodbye before its messages are out.
pub struct PlantedEarly;

/// Calls that are queued when the client disconnects.
const CALLS: u32 = 3;

impl Scenario for PlantedEarly {
    fn name(&self) -> &'static str {
        "planted-early"
    }

    fn about(&self) -> &'static str {
        "a shutdown that is complete before its messages are written (early-completion)"
    }

    fn parameters(&self) -> &'static [Question] {
        std::slice::from_ref(&CHANCE)
    }

    fn questions(&self) -> Vec<&'static [Question]> {
        vec![&crate::catalogue::object::QUESTIONS]
    }

    fn planted(&self) -> Option<Planted> {
        Some(Planted {
            class: Class::EarlyCompletion,
            clean: CLEAN,
        })
    }

    fn run(&self, sim: &Sim) -> Result<(), Stopped> {
        let hasty = strikes(sim);
        disconnect(sim, |end| {
            Vat::upon(sim, Side::Client, end, None, |network| match hasty {
                true => Box::new(Hasty {
                    inner: network,
                    asks: true,
                }),
                false => network,
            })
        })
    }
}

/// A client whose disconnector ends, and its connection goes on: nobody was asked to shut it down.
pub struct PlantedUnasked;

impl Scenario for PlantedUnasked {
    fn name(&self) -> &'static str {
        "planted-unasked"
    }

    fn about(&self) -> &'static str {
        "a disconnector that ends while its connection goes on (early-completion)"
    }

    fn parameters(&self) -> &'static [Question] {
        std::slice::from_ref(&CHANCE)
    }

    fn questions(&self) -> Vec<&'static [Question]> {
        vec![&crate::catalogue::object::QUESTIONS]
    }

    fn planted(&self) -> Option<Planted> {
        Some(Planted {
            class: Class::EarlyCompletion,
            clean: CLEAN,
        })
    }

    fn run(&self, sim: &Sim) -> Result<(), Stopped> {
        let deaf = strikes(sim);
        disconnect(sim, |end| {
            Vat::through(sim, Side::Client, end, None, |network| match deaf {
                true => Box::new(Hasty {
                    inner: network,
                    asks: false,
                }),
                false => network,
            })
        })
    }
}

/// A client makes calls, and disconnects.
fn disconnect(sim: &Sim, client: impl FnOnce(End) -> Vat) -> Result<(), Stopped> {
    // No fault of the pipe: upstream does not keep its own word when there is one.
    sim.heal();
    let objects = Objects::new(sim);
    let (link, client_end, server_end) = Link::new(sim);
    let client = client(client_end);
    let served = Some(objects.make("server", 0));
    let server = Vat::new(sim, Side::Server, server_end, served);
    let (bootstrap, disconnector) = (client.bootstrap(), client.disconnector());
    server.start();
    client.start();
    sim.enter(Phase::Drive, || {
        sim.settle()?;
        for number in 1..=CALLS {
            drop(call(&bootstrap, Call::new(number, 0), "echo", None));
        }
        Ok(())
    })?;
    sim.enter(Phase::Teardown, || {
        let name = Name::new("client", "disconnect");
        sim.spawn_must_end(name, disconnector.unwrap_or_else(drop));
        sim.settle()?;
        sim.act(Name::new("client", "drop-caps"), || drop(bootstrap))?;
        client.drop_system()?;
        sim.settle()?;
        server.drop_system()?;
        drop(link);
        sim.act(Name::new("owner", "forget"), || objects.forget())?;
        Ok(())
    })
}

/// Passes everything on, a shutdown too if it says so, and says at once that it is complete.
struct Hasty {
    inner: AnyNetwork,
    /// Whether a shutdown is asked for at all.
    asks: bool,
}

impl VatNetwork<Side> for Hasty {
    fn connect(&mut self, host: Side) -> Option<Box<dyn Connection<Side>>> {
        let inner = self.inner.connect(host)?;
        let asks = self.asks;
        Some(Box::new(HastyConnection { inner, asks }))
    }

    fn accept(&mut self) -> Promise<Box<dyn Connection<Side>>, Error> {
        let asks = self.asks;
        Promise::from_future(self.inner.accept().map_ok(move |inner| {
            Box::new(HastyConnection { inner, asks }) as Box<dyn Connection<Side>>
        }))
    }

    fn drive_until_shutdown(&mut self) -> Promise<(), Error> {
        self.inner.drive_until_shutdown()
    }
}

struct HastyConnection {
    inner: Box<dyn Connection<Side>>,
    asks: bool,
}

impl Connection<Side> for HastyConnection {
    fn get_peer_vat_id(&self) -> Side {
        self.inner.get_peer_vat_id()
    }

    fn new_outgoing_message(&mut self, first_segment_words: u32) -> Box<dyn OutgoingMessage> {
        self.inner.new_outgoing_message(first_segment_words)
    }

    fn receive_incoming_message(&mut self) -> Promise<Option<Box<dyn IncomingMessage>>, Error> {
        self.inner.receive_incoming_message()
    }

    with_streaming! {
        fn new_stream(&mut self) -> (Box<dyn capnp_rpc::FlowController>, Promise<(), Error>) {
            self.inner.new_stream()
        }
    }

    fn shutdown(&mut self, result: capnp::Result<()>) -> Promise<(), Error> {
        if self.asks {
            drop(self.inner.shutdown(result));
        }
        Promise::ok(())
    }
}
