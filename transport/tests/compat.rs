//! Do calls mean the same through every release of upstream?
#![allow(clippy::unwrap_used, missing_docs)]
// What is a conversion in one release of upstream is none in another.
#![allow(clippy::useless_conversion)]

mod typed;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use capnp::Error;
use capnp::any_pointer;
use capnp::capability::{Client, DispatchCallResult, Promise};
use capnp_rpc::rpc_twoparty_capnp::Side;
use dismantle_sim::{Limits, Name, Plan, Sim, Vocabulary, run};
use dismantle_transport::compat::{self, AnyParams, AnyResults, Interpose, Serve, Untyped};
use dismantle_transport::{Disconnector, Link, Vat};
use futures::channel::oneshot;

use typed::{Served, Typed};

type List<'a> = capnp::primitive_list::Builder<'a, u8>;

const INTERFACE: u64 = 0xf00d_f00d_f00d_f00d;
const ECHO: u16 = 0;
const STREAM: u16 = 1;
const COUNT: u16 = 2;
const NEVER: u16 = 3;

#[derive(Default)]
struct Echo {
    streamed: Cell<u32>,
}

impl Serve for Echo {
    fn call(
        self: Rc<Self>,
        _interface_id: u64,
        method_id: u16,
        params: AnyParams,
        mut results: AnyResults,
    ) -> Promise<(), Error> {
        match method_id {
            ECHO => Promise::from_future(async move {
                let Untyped(echoed) = params.get()?.get_as_capability()?;
                results.get().set_as_capability(echoed.hook);
                results.set_pipeline()
            }),
            // A failing one has parameters.
            STREAM if params.get().unwrap().is_null() => {
                self.streamed.set(self.streamed.get() + 1);
                Promise::ok(())
            }
            STREAM => Promise::err(Error::failed("a broken stream".into())),
            COUNT => {
                results.get().initn_as::<List<'_>>(self.streamed.get());
                Promise::ok(())
            }
            _ => Promise::from_future(std::future::pending()),
        }
    }

    fn is_streaming(&self, _interface_id: u64, method_id: u16) -> bool {
        method_id == STREAM
    }
}

/// A server of that interface.
struct TypedServer(Rc<Echo>);

impl Served for TypedServer {
    fn served(&self, method: u16, params: AnyParams, results: AnyResults) -> DispatchCallResult {
        let echo = self.0.clone();
        let is_streaming = echo.is_streaming(INTERFACE, method);
        DispatchCallResult::new(echo.call(INTERFACE, method, params, results), is_streaming)
    }
}

#[derive(Clone, Default)]
struct Log {
    calls: Rc<RefCell<Vec<u16>>>,
    deferred: bool,
    refused: Option<u16>,
}

impl Interpose for Log {
    fn around(
        &self,
        _interface_id: u64,
        method_id: u16,
        work: Box<dyn FnOnce() -> Promise<(), Error>>,
    ) -> Promise<(), Error> {
        self.calls.borrow_mut().push(method_id);
        if self.refused == Some(method_id) {
            Promise::err(Error::failed("refused".into()))
        } else if self.deferred {
            Promise::from_future(async move {
                std::future::ready(()).await;
                work().await
            })
        } else {
            work()
        }
    }
}

/// Two vats on a link: the client's bootstrap of `server`.
fn connect(sim: &Sim, server: Client) -> (Client, Disconnector) {
    let (_link, client_end, server_end) = Link::new(sim);
    let calling = Vat::new(sim, Side::Client, client_end, None);
    let serving = Vat::new(sim, Side::Server, server_end, Some(server));
    let client = calling.bootstrap();
    let disconnector = calling.disconnector();
    calling.start();
    serving.start();
    (client, disconnector)
}

/// Runs `test` as a task, which has to end.
fn tested<F: Future<Output = ()> + 'static>(test: impl FnOnce(Sim) -> F + Send) {
    let mut questions = dismantle_sim::questions().to_vec();
    questions.extend(dismantle_transport::questions());
    let plan = Plan::new(Vocabulary {
        scenario: "compat",
        limits: Limits::default(),
        parameters: &[],
        questions,
    });
    let mut ended = None;
    let report = run(&plan, |sim| {
        let task = sim.spawn_must_end(Name::new("test", "body"), test(sim.clone()));
        ended = sim.run_until(&task)?;
        sim.settle()
    });
    assert_eq!(report.panics, []);
    assert_eq!(ended, Some(()), "{:?}", report.pending);
}

/// Lets everything run that is ready: virtual time moves only when nothing is.
async fn settle(sim: &Sim) {
    sim.sleep_us(1).await;
}

async fn count(client: &Client) -> capnp::Result<u32> {
    let response = compat::send(client, INTERFACE, COUNT, |_| Ok(()))
        .promise
        .await?;
    let list: capnp::primitive_list::Reader<'_, u8> = response.get()?.get_as()?;
    Ok(list.len())
}

async fn echo(client: &Client, echoed: Client) -> capnp::Result<Client> {
    let fill = |mut params: any_pointer::Builder<'_>| {
        params.set_as_capability(echoed.hook);
        Ok(())
    };
    let response = compat::send(client, INTERFACE, ECHO, fill).promise.await?;
    let Untyped(echoed) = response.get()?.get_as_capability()?;
    Ok(echoed)
}

async fn stream(client: &Client) -> capnp::Result<()> {
    compat::send_streaming(client, INTERFACE, STREAM, |_| Ok(())).await
}

async fn broken_stream(client: &Client) {
    let fill = |params: any_pointer::Builder<'_>| {
        params.initn_as::<List<'_>>(1);
        Ok(())
    };
    let sent = compat::send_streaming(client, INTERFACE, STREAM, fill).await;
    // A remote one can be acknowledged before it fails; every later call tells.
    if let Err(error) = sent {
        assert!(error.to_string().contains("a broken stream"), "{error}");
    }
    let error = count(client).await.unwrap_err();
    assert!(error.to_string().contains("a broken stream"), "{error}");
}

#[test]
fn the_releases_are_known() {
    for (version, expected) in [
        (compat::CAPNP_VERSION, option_env!("EXPECTED_CAPNP")),
        (compat::CAPNP_RPC_VERSION, option_env!("EXPECTED_CAPNP_RPC")),
    ] {
        assert!(version.starts_with("0."), "{version}");
        assert_eq!(version, expected.unwrap_or(version));
    }
}

#[test]
fn remote_calls_answer_and_let_go() {
    tested(|sim| async move {
        let server = Rc::new(Echo::default());
        let (client, disconnector) = connect(&sim, compat::client(server.clone()));
        for _ in 0..3 {
            stream(&client).await.unwrap();
        }
        assert_eq!(count(&client).await.unwrap(), 3);

        // A local capability is served from here, through there, and is dropped when unused.
        let ours = Rc::new(Echo::default());
        let dropped: Weak<Echo> = Rc::downgrade(&ours);
        stream(&compat::client(ours.clone())).await.unwrap();
        let echoed = echo(&client, compat::client(ours)).await.unwrap();
        assert_eq!(count(&echoed).await.unwrap(), 1);
        drop(echoed);
        settle(&sim).await;
        assert!(dropped.upgrade().is_none());

        // A cancelled call releases the server, and so does the end of the connection.
        drop(compat::send(&client, INTERFACE, NEVER, |_| Ok(())));
        let dropped = Rc::downgrade(&server);
        drop((server, client));
        disconnector.await.unwrap();
        settle(&sim).await;
        assert!(dropped.upgrade().is_none());
    });
}

#[test]
fn pipelined_calls_reach_what_will_be_answered() {
    tested(|sim| async move {
        let (client, _disconnector) = connect(&sim, compat::client(Rc::new(Echo::default())));
        stream(&client).await.unwrap();
        let call = compat::send(&client, INTERFACE, ECHO, |mut params| {
            params.set_as_capability(client.hook.add_ref());
            Ok(())
        });
        let pipelined = Client::new(call.pipeline.as_cap());
        assert_eq!(count(&pipelined).await.unwrap(), 1);
        call.promise.await.map(drop).unwrap();
    });
}

#[test]
fn parameters_that_fail_send_nothing() {
    tested(|sim| async move {
        let (client, _disconnector) = connect(&sim, compat::client(Rc::new(Echo::default())));
        let fails = |_: any_pointer::Builder<'_>| Err(Error::failed("no params".into()));
        let call = compat::send(&client, INTERFACE, ECHO, fails);
        let pipelined = Client::new(call.pipeline.as_cap());
        let error = call.promise.await.map(drop).unwrap_err();
        assert!(error.to_string().contains("no params"), "{error}");
        assert!(count(&pipelined).await.is_err());
        let error = compat::send_streaming(&client, INTERFACE, STREAM, fails)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("no params"), "{error}");
        // It was no streaming call that failed.
        assert_eq!(count(&client).await.unwrap(), 0);
    });
}

#[test]
fn a_broken_stream_fails_all_later_calls() {
    tested(|sim| async move {
        let (client, _disconnector) = connect(&sim, compat::client(Rc::new(Echo::default())));
        stream(&client).await.unwrap();
        broken_stream(&client).await;
        broken_stream(&compat::client(Rc::new(Echo::default()))).await;
    });
}

#[test]
fn calls_on_a_promise_capability_wait_for_it() {
    tested(|sim| async move {
        let (client, _disconnector) = connect(&sim, compat::client(Rc::new(Echo::default())));
        let (resolve, resolved) = oneshot::channel::<Client>();
        let never = |_| Error::failed("never resolved".into());
        let promise = compat::future_client(async move { resolved.await.map_err(never) });
        let echoed = echo(&client, promise).await.unwrap();
        let counted: Rc<Cell<Option<u32>>> = Rc::default();
        let shared = counted.clone();
        let queued = sim.spawn(Name::new("test", "queued"), async move {
            shared.set(Some(count(&echoed).await.unwrap()));
        });
        settle(&sim).await;
        assert_eq!(counted.get(), None);
        let ours = compat::client(Rc::new(Echo::default()));
        stream(&ours).await.unwrap();
        resolve.send(ours).ok().unwrap();
        queued.await;
        assert_eq!(counted.get(), Some(1));
    });
}

#[test]
fn a_promise_capability_may_fail() {
    tested(|_| async move {
        let broken = compat::future_client(async { Err(Error::overloaded("not now".into())) });
        let error = count(&broken).await.unwrap_err();
        assert_eq!(error.kind, capnp::ErrorKind::Overloaded);
    });
}

#[test]
fn an_interposer_sees_every_call_and_changes_none() {
    for deferred in [false, true] {
        tested(|sim| async move {
            let log = Log {
                deferred,
                ..Log::default()
            };
            let server = Rc::new(Echo::default());
            let dropped = Rc::downgrade(&server);
            let typed: Typed = compat::interposed(TypedServer(server), log.clone());
            let (client, disconnector) =
                connect(&sim, Untyped(Client::new(typed.0.hook.add_ref())).0);
            stream(&client).await.unwrap();
            stream(&client).await.unwrap();
            assert_eq!(count(&client).await.unwrap(), 2);
            let same = Client::new(client.hook.add_ref());
            let echoed = echo(&client, same).await.unwrap();
            assert_eq!(count(&echoed).await.unwrap(), 2);
            broken_stream(&echoed).await;
            broken_stream(&typed.0).await;
            // A broken capability fails before the interposer is asked.
            let calls = [STREAM, STREAM, COUNT, ECHO, COUNT, STREAM];
            assert_eq!(*log.calls.borrow(), calls);
            drop((typed, client, echoed));
            disconnector.await.unwrap();
            settle(&sim).await;
            assert!(dropped.upgrade().is_none());
        });
    }
}

#[test]
fn an_interposer_may_refuse_a_call() {
    tested(|_| async move {
        let log = Log {
            refused: Some(STREAM),
            ..Log::default()
        };
        let server = Rc::new(Echo::default());
        let typed: Typed = compat::interposed(TypedServer(server), log);
        let error = stream(&typed.0).await.unwrap_err();
        assert!(error.to_string().contains("refused"), "{error}");
        assert_eq!(count(&typed.0).await.unwrap(), 0);
    });
}
