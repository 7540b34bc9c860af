//! A gateway that passes errors on as text, as many do.

use std::rc::Rc;

use capnp::capability::{Client, Promise};
use capnp::{Error, ErrorKind};
use dismantle_sim::{Name, Phase, Question, Sim, Stopped};
use dismantle_transport::compat::{self, AnyParams, AnyResults, Serve};
use dismantle_transport::exception;

use super::{CHANCE, CLEAN, strikes};
use crate::catalogue::object::{Call, call};
use crate::catalogue::session::Session;
use crate::catalogue::waiting::judged;
use crate::check::Class;
use crate::scenario::Planted;

/// What the object behind the gateway throws, call by call.
const THROWN: [ErrorKind; 4] = [
    ErrorKind::Failed,
    ErrorKind::Overloaded,
    ErrorKind::Disconnected,
    ErrorKind::Unimplemented,
];

planted!(
    /// Makes a failure of every exception.
    PlantedWrongError,
    "planted-wrong-error",
    "a gateway through which every exception becomes a failure (wrong-error)",
    WrongError,
    sim => {
        // No fault of the pipe: upstream has wrong errors of its own when there is one.
        sim.heal();
        let gateway = Gateway {
            object: compat::client(Rc::new(Thrower)),
            keeps_types: !strikes(sim),
        };
        let mut session = Session::new(sim, compat::client(Rc::new(gateway)));
        for number in 0..THROWN.len() as u32 {
            if let Some(server) = &session.server {
                let answer = call(server, Call::new(number, 0), "echo", None).promise;
                let name = Name::numbered("client", "call", number);
                sim.spawn_must_end(name, judged(sim, &session.errors, name, answer));
            }
        }
        sim.settle()?;
        session.disconnect()?;
        session.destroy()
    }
);

struct Gateway {
    object: Client,
    keeps_types: bool,
}

impl Serve for Gateway {
    fn call(
        self: Rc<Self>,
        interface_id: u64,
        method_id: u16,
        _params: AnyParams,
        _results: AnyResults,
    ) -> Promise<(), Error> {
        let sent = compat::send(&self.object, interface_id, method_id, |_| Ok(()));
        let keeps_types = self.keeps_types;
        Promise::from_future(async move {
            match sent.promise.await {
                Err(error) if !keeps_types => Err(Error::failed(error.to_string())),
                answer => answer.map(drop),
            }
        })
    }
}

struct Thrower;

impl Serve for Thrower {
    fn call(
        self: Rc<Self>,
        interface_id: u64,
        _method_id: u16,
        _params: AnyParams,
        _results: AnyResults,
    ) -> Promise<(), Error> {
        let number = Call::from_interface_id(interface_id).operation as usize;
        Promise::err(exception(THROWN[number % THROWN.len()]))
    }
}
