//! The scenario: members join, post, read the history and leave, and the connection ends.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;

use capnp::Error;
use capnp_rpc::rpc_twoparty_capnp::Side;
use dismantle::Scenario;
use dismantle_sim::{JoinHandle, Name, Phase, Question, Rule, Sim, Stopped, Tracked, Where, share};
use dismantle_transport::{Link, Vat, inject};

use crate::chat_capnp::{listener, membership, room, sink};
use crate::service::{Host, Membership, Room};

const ENDS: [&str; 3] = ["leave", "client", "server"];

/// What is set by hand, such as `--set posts=100`.
static PARAMETERS: [Question; 4] = [
    Question::count("members", (1, 100), 2, &[share(1, 1, 6)]).about("who joins"),
    Question::count("posts", (0, 100_000), 3, &[share(1, 0, 16)]).about("messages posted"),
    // Seeds leave out `server`: with calls under way capnp-rpc 0.27.3 leaks then, or panics.
    Question::word("end", &ENDS, &[share(1, 0, 1)])
        .about("what comes first: everyone leaves, or one side disconnects"),
    Question::word("finish", &["answered", "in-flight"], &[share(1, 0, 1)])
        .about("whether the answers are waited for before that"),
];

/// What a seed may vary besides. All else is varied by the simulation and the transport.
static QUESTIONS: [Question; 4] = [
    Question::count("post.*.by", (0, 99), 0, &[share(1, 0, 99)]).about("which member posts it"),
    Question::count(
        "post.*.steps",
        (0, 10_000),
        0,
        &[share(2, 0, 0), share(2, 1, 20), share(1, 10_000, 10_000)],
    )
    .about("steps that run behind it"),
    Question::count(
        "member.*.leaves",
        (0, 100_000),
        0,
        &[share(2, 0, 0), share(1, 1, 16)],
    )
    .about("the post before which the member leaves; 0 is never"),
    Question::count(
        "member.*.reads",
        (0, 100_000),
        0,
        &[share(2, 0, 0), share(1, 1, 16)],
    )
    .about("the post before which the member reads the history; 0 is never"),
];

/// The chat under test.
pub struct Chat {
    /// A bug put into it, to show that its rules can be broken.
    pub bug: Option<Bug>,
}

/// Bugs that a chat might have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The server keeps a membership for itself.
    Hoards,
    /// A history lacks its first message.
    Skips,
}

impl Scenario for Chat {
    fn name(&self) -> &'static str {
        "chat"
    }

    fn about(&self) -> &'static str {
        "members of a room join, post, read and leave; then the connection is shut down"
    }

    fn parameters(&self) -> &'static [Question] {
        &PARAMETERS
    }

    fn questions(&self) -> Vec<&'static [Question]> {
        vec![&QUESTIONS]
    }

    fn over(&self) -> Option<&'static str> {
        Some("posts")
    }

    /// The room goes last, and a membership when its member does, not with another's.
    fn rules(&self) -> Vec<Rule> {
        vec![
            Rule::before("server/membership", "server/room"),
            Rule::once("server/membership"),
            Rule::never_inside(
                "server/membership",
                Where::DestructionOf("server/membership"),
            ),
        ]
    }

    fn run(&self, sim: &Sim) -> Result<(), Stopped> {
        let mut world = sim.enter(Phase::Build, || Ok(World::new(sim, self.bug)))?;
        sim.enter(Phase::Drive, || world.drive())?;
        sim.enter(Phase::Teardown, || world.end())
    }
}

/// The service's host under test: its objects are tracked, and the plan disturbs their calls.
struct Simulated {
    sim: Sim,
    hoard: Option<RefCell<Vec<membership::Client>>>,
}

impl Host for Simulated {
    fn serve(&self, membership: Membership) -> membership::Client {
        let name = Name::numbered("server", "membership", membership.number());
        let client: membership::Client = inject(&self.sim, name, membership);
        if let Some(hoard) = &self.hoard {
            hoard.borrow_mut().push(client.clone());
        }
        client
    }

    fn guard(&self, object: &'static str, number: u32) -> Box<dyn Any> {
        Box::new(self.sim.track(Name::numbered("server", object, number), ()))
    }
}

/// Hears what is posted, unless the plan has it fail.
struct Ear(#[expect(dead_code, reason = "its drop is the record")] Tracked<()>);

impl listener::Server for Ear {
    async fn heard(
        self: Rc<Self>,
        params: listener::HeardParams,
        _: listener::HeardResults,
    ) -> Result<(), Error> {
        let number = params.get()?.get_message()?.get_number();
        assert_ne!(number, 0, "messages are counted from 1");
        Ok(())
    }
}

/// Takes a history, and sees to it that it comes in order and whole.
struct Reader {
    sim: Sim,
    last: Cell<u32>,
    name: Tracked<()>,
}

impl Reader {
    /// A rule of ours that upstream's streaming has to keep: a finding of class `call-order`.
    fn expect(&self, kept: bool, rule: &str, number: u32) {
        if !kept {
            let detail = format!("{number} after {}", self.last.get());
            self.sim
                .breach("call-order", rule, self.name.name(), detail);
        }
    }
}

impl sink::Server for Reader {
    async fn put(self: Rc<Self>, params: sink::PutParams) -> Result<(), Error> {
        let number = params.get()?.get_message()?.get_number();
        let next = self.last.get() + 1;
        self.expect(
            number == next,
            "a history comes in the order of posting",
            number,
        );
        self.last.set(number);
        Ok(())
    }

    async fn done(self: Rc<Self>, _: sink::DoneParams, _: sink::DoneResults) -> Result<(), Error> {
        Ok(())
    }
}

/// Both ends, and what their owners hold.
struct World {
    sim: Sim,
    link: Link,
    client: Vat,
    server: Vat,
    /// The server's own handle.
    room: Room,
    /// The client's view of it.
    bootstrap: Option<room::Client>,
    memberships: Vec<Option<membership::Client>>,
    calls: Vec<JoinHandle<()>>,
    histories: u32,
    bug: Option<Bug>,
}

impl World {
    fn new(sim: &Sim, bug: Option<Bug>) -> Self {
        let (link, client_end, server_end) = Link::new(sim);
        let room = Room::new(Box::new(Simulated {
            sim: sim.clone(),
            hoard: (bug == Some(Bug::Hoards)).then(RefCell::default),
        }));
        let served: room::Client = inject(sim, Name::new("server", "room"), room.clone());
        let client = Vat::new(sim, Side::Client, client_end, None);
        let server = Vat::new(sim, Side::Server, server_end, Some(served.client));
        let bootstrap = room::Client {
            client: client.bootstrap(),
        };
        client.start();
        server.start();
        Self {
            sim: sim.clone(),
            link,
            client,
            server,
            room,
            bootstrap: Some(bootstrap),
            memberships: Vec::new(),
            calls: Vec::new(),
            histories: 0,
            bug,
        }
    }

    /// Waits for a call in a task of its own. It has to end, with an answer or an error,
    /// whatever happens: if it does not, that is a hang.
    fn call<T: 'static>(&mut self, name: Name, answer: impl Future<Output = T> + 'static) {
        let call = self.sim.spawn_must_end(name, async { drop(answer.await) });
        self.calls.push(call);
    }

    fn drive(&mut self) -> Result<(), Stopped> {
        let sim = self.sim.clone();
        for number in 0..sim.ask(&PARAMETERS[0], &[]) as u32 {
            self.join(number);
        }
        for number in 1..=sim.ask(&PARAMETERS[1], &[]) as u32 {
            // What plans time their faults by.
            sim.operation(number);
            self.link.operation(number);
            for member in 0..self.memberships.len() as u32 {
                if sim.ask(&QUESTIONS[3], &[member.into()]) == u64::from(number) {
                    self.read(member);
                }
                if sim.ask(&QUESTIONS[2], &[member.into()]) == u64::from(number) {
                    self.leave(member)?;
                }
            }
            self.post(number);
            sim.steps(sim.ask(&QUESTIONS[1], &[number.into()]))?;
        }
        if sim.ask(&PARAMETERS[3], &[]) == 0 {
            sim.settle()?;
            self.link.rest(1);
        }
        Ok(())
    }

    fn join(&mut self, number: u32) {
        let Some(room) = &self.bootstrap else { return };
        let ear = self
            .sim
            .track(Name::numbered("client", "listener", number), ());
        let mut request = room.join_request();
        request.get().set_name(&format!("member {number}")[..]);
        let name = Name::numbered("client", "listener", number);
        request
            .get()
            .set_listener(inject(&self.sim, name, Ear(ear)));
        let sent = request.send();
        // Posts need not wait for the answer.
        self.memberships.push(Some(sent.pipeline.get_membership()));
        self.call(Name::numbered("client", "join", number), sent.promise);
    }

    fn post(&mut self, number: u32) {
        let by = self.sim.ask(&QUESTIONS[0], &[number.into()]) as usize;
        let Some(member) = &self.memberships[by % self.memberships.len()] else {
            return;
        };
        let mut request = member.post_request();
        request.get().set_text(&format!("message {number}")[..]);
        let answer = request.send().promise;
        self.call(Name::numbered("client", "post", number), answer);
    }

    fn read(&mut self, member: u32) {
        let Some(member) = &self.memberships[member as usize] else {
            return;
        };
        self.histories += 1;
        let name = Name::numbered("client", "reader", self.histories);
        let reader = Rc::new(Reader {
            sim: self.sim.clone(),
            last: Cell::new(0),
            name: self.sim.track(name, ()),
        });
        let mut request = member.history_request();
        request
            .get()
            .set_from(if self.bug == Some(Bug::Skips) { 2 } else { 1 });
        request
            .get()
            .set_to(capnp_rpc::new_client_from_rc(reader.clone()));
        let answer = request.send().promise;
        self.call(
            Name::numbered("client", "history", self.histories),
            async move {
                if let Ok(answer) = answer.await {
                    let count = answer.get().map_or(0, |answer| answer.get_count());
                    let whole = count == reader.last.get();
                    reader.expect(whole, "a history that is answered has come whole", count);
                }
            },
        );
    }

    fn leave(&mut self, member: u32) -> Result<(), Stopped> {
        let gone = self.memberships[member as usize].take();
        let name = Name::numbered("client", "leave", member);
        self.sim.act(name, || drop(gone))?;
        Ok(())
    }

    /// Takes everything apart, as one should: first shut down, then destroy.
    fn end(&mut self) -> Result<(), Stopped> {
        let sim = self.sim.clone();
        let sides = match ENDS[sim.ask(&PARAMETERS[2], &[]) as usize] {
            "leave" => {
                for member in 0..self.memberships.len() as u32 {
                    self.leave(member)?;
                }
                sim.settle()?;
                [0, 1]
            }
            "client" => [0, 1],
            _ => [1, 0],
        };
        for side in sides {
            let vat = [&self.client, &self.server][side];
            // There is none once the other side's end has ended it.
            if let Some(disconnector) = vat.try_disconnector() {
                sim.spawn_must_end(Name::new(vat.name(), "disconnect"), disconnector);
                sim.settle()?;
            }
        }
        self.link.report_stalls(&sim);
        if self.server.has_ended() && self.room.members() > 0 {
            // Its connection is gone, so its membership is, too.
            let rule = "a member outlives its connection";
            let left = format!("{} in the room", self.room.members());
            sim.breach("destruction-order", rule, Name::new("server", "room"), left);
        }
        let held = (self.bootstrap.take(), std::mem::take(&mut self.memberships));
        sim.act(Name::new("client", "drop-capabilities"), || drop(held))?;
        self.client.drop_system()?;
        sim.settle()?;
        self.server.drop_system()
    }
}
