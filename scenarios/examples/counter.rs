//! A service of one's own under test: the scenario, its command line and its test.
//!
//! ```text
//! cargo run --example counter -- fuzz
//! cargo test --example counter
//! ```

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;

use capnp::Error;
use capnp::capability::Promise;
use capnp_rpc::rpc_twoparty_capnp::Side;
use dismantle::Scenario;
use dismantle_sim::{Name, Phase, Question, Sim, Stopped, Tracked, share};
use dismantle_transport::compat::{self, AnyParams, AnyResults, Serve};
use dismantle_transport::{Link, Vat};

/// The service: counts its calls. With generated code, this is any `impl my_schema::Server`.
struct Counter {
    calls: Cell<u32>,
    /// Makes the service's destruction part of the report.
    _tracked: Tracked<()>,
}

impl Serve for Counter {
    fn call(
        self: Rc<Self>,
        _interface_id: u64,
        _method_id: u16,
        _params: AnyParams,
        _results: AnyResults,
    ) -> Promise<(), Error> {
        self.calls.set(self.calls.get() + 1);
        Promise::ok(())
    }
}

/// What a seed may vary, beside what the simulation and the transport vary by themselves.
static CALLS: Question =
    Question::count("calls", (0, 1000), 3, &[share(1, 0, 20)]).about("calls before the shutdown");

/// A client that makes some calls, shuts down, and only then lets everything go.
struct Shutdown;

impl Scenario for Shutdown {
    fn name(&self) -> &'static str {
        "shutdown"
    }

    fn about(&self) -> &'static str {
        "calls a counter and shuts the connection down"
    }

    fn parameters(&self) -> &'static [Question] {
        std::slice::from_ref(&CALLS)
    }

    fn over(&self) -> Option<&'static str> {
        Some("calls")
    }

    fn run(&self, sim: &Sim) -> Result<(), Stopped> {
        let (link, client, server, counter, disconnectors) = sim.enter(Phase::Build, || {
            let (link, client_end, server_end) = Link::new(sim);
            let counter = compat::client(Rc::new(Counter {
                calls: Cell::new(0),
                _tracked: sim.track(Name::new("server", "counter"), ()),
            }));
            let client = Vat::new(sim, Side::Client, client_end, None);
            let server = Vat::new(sim, Side::Server, server_end, Some(counter));
            let disconnectors = [client.disconnector(), server.disconnector()];
            let counter = client.bootstrap();
            client.start();
            server.start();
            Ok((link, client, server, counter, disconnectors))
        })?;
        sim.enter(Phase::Drive, || {
            for number in 1..=sim.ask(&CALLS, &[]) as u32 {
                let answer = compat::send(&counter, 0, 0, |_| Ok(()));
                let name = Name::numbered("client", "call", number);
                // It has to end, with an answer or an error, whatever happens to the pipe.
                sim.spawn_must_end(name, async { drop(answer.promise.await) });
            }
            sim.settle()
        })?;
        sim.enter(Phase::Teardown, || {
            for (vat, disconnector) in ["client", "server"].into_iter().zip(disconnectors) {
                sim.spawn_must_end(Name::new(vat, "disconnect"), disconnector);
                sim.settle()?;
            }
            link.report_stalls(sim);
            sim.act(Name::new("client", "drop-counter"), || drop(counter))?;
            client.drop_system()?;
            server.drop_system()
        })
    }
}

fn main() -> ExitCode {
    dismantle::cli::main(&[&Shutdown])
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_shutdown_is_clean_under_every_seed() {
        dismantle::check(&super::Shutdown).seeds(0..500);
    }
}
