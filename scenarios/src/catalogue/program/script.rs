//! A program as its own source would have it: a statement for what an owner does.

use capnp::capability::Client;
use dismantle_sim::{JoinHandle, Name, Sim};

use super::net::Order;
use super::world::{Made, World};
use super::{KEEPS, SIDES};
use crate::catalogue::object::{Call, METHODS, method_id};
use crate::catalogue::script::{object, place};

/// A capability that is passed, as a program finds it.
#[derive(Clone, Copy)]
pub enum Passed {
    /// A new object.
    Object,
    /// The bootstrap capability of this connection.
    Bootstrap(usize),
    /// What has this name in the order of calls.
    Made(Name),
}

/// The numbers that a name in the order of calls has: the operation, and which of its kind.
fn numbers(reference: Name) -> (u32, usize) {
    let index = reference.index().unwrap_or(0);
    let stride = Call::new(0, 1).index();
    (index % stride, (index / stride) as usize)
}

fn numbered(kind: &str, operation: u32, place: usize) -> String {
    match place {
        0 => format!("{kind}_{operation}"),
        place => format!("{kind}_{operation}_{place}"),
    }
}

/// The variable of the capability that an operation made in this place.
pub fn cap(operation: u32, place: usize) -> String {
    numbered("cap", operation, place)
}

/// The variable of a task.
fn task(name: Name) -> String {
    let (operation, place) = numbers(name);
    numbered("call", operation, place)
}

/// The variables of the responses that an operation keeps, or will.
pub fn kept(made: &Made) -> Vec<String> {
    let places = 0..if made.keeps { made.responses.len() } else { 0 };
    places
        .map(|place| numbered("response", made.number, place))
        .collect()
}

/// Repetitions are written one by one.
const REPEAT_MAX: u32 = 32;

/// What rustfmt puts of a call's arguments on one line, and a bit less.
const DROPPED_WIDTH: usize = 56;

/// Statements that drop these variables, in order; empty if there are none.
pub fn drop_all(variables: Vec<String>) -> String {
    let mut groups: Vec<Vec<String>> = Vec::new();
    for variable in variables {
        let width = |group: &Vec<String>| group.iter().map(|it| it.len() + 2).sum::<usize>();
        match groups.last_mut() {
            Some(group) if width(group) + variable.len() <= DROPPED_WIDTH => group.push(variable),
            _ => groups.push(vec![variable]),
        }
    }
    let drop = |group: &Vec<String>| match &group[..] {
        [one] => format!("drop({one});\n"),
        all => format!("drop(({}));\n", all.join(", ")),
    };
    groups.iter().map(drop).collect()
}

fn vat_name(side: usize, connection: usize) -> String {
    match connection {
        0 => SIDES[side].to_owned(),
        number => format!("{}_{}", SIDES[side], number + 1),
    }
}

fn variable(vat: &str) -> String {
    vat.replace('-', "_")
}

/// The variable of an owner's bootstrap capability.
pub fn bootstrap(side: usize, connection: usize) -> String {
    format!("{}_bootstrap", vat_name(side, connection))
}

/// Says how a connection is made; its vats follow.
pub fn connection(sim: &Sim, number: usize) {
    let suffix = match number {
        0 => String::new(),
        number => format!("_{}", number + 1),
    };
    for (to, from) in [("server", "client"), ("client", "server")] {
        sim.script(place::MAIN, || {
            format!("let (to_{to}{suffix}, from_{from}{suffix}) = mpsc::unbounded();")
        });
    }
}

/// Says how a vat is made that does not run yet, whether it asks for its peer's capability, and
/// when for a disconnector.
pub fn vat(sim: &Sim, number: usize, side: usize, asks: bool, order: Order) {
    let vat = vat_name(side, number);
    let from = vat_name(1 - side, number);
    let kinds = ["Side::Client", "Side::Server"];
    sim.script(place::MAIN, || {
        let name = object(SIDES[side], 0);
        let name = name.trim_start_matches("object(").trim_end_matches(')');
        let mutable = if asks { "mut " } else { "" };
        format!(
            "let {mutable}{vat} = vat({}, from_{from}, to_{from}, {name});",
            kinds[side]
        )
    });
    let disconnector = || format!("let {vat}_disconnector = {vat}.get_disconnector();");
    if order == Order::Before {
        sim.script(place::MAIN, disconnector);
    }
    if asks {
        sim.script(place::MAIN, || {
            let peer = kinds[1 - side];
            format!("let {vat}_bootstrap: Client = {vat}.bootstrap({peer});")
        });
    }
    if order == Order::After {
        sim.script(place::MAIN, disconnector);
    }
}

/// Says that the first connection's bootstrap capability is one that reconnects.
pub fn reconnecting(sim: &Sim, eagerly: bool) {
    sim.script(place::MAIN, || {
        let make = match eagerly {
            true => {
                "let bootstrap = move || first.take().ok_or(Error::disconnected(String::new()));\n\
                 let (again, _) = auto_reconnect(bootstrap).unwrap();"
            }
            false => {
                "let shared = client.clone();\n\
                 let bootstrap = move || Ok::<Client, _>(running(&shared).bootstrap(Side::Server));\n\
                 let (again, _) = lazy_auto_reconnect(bootstrap);"
            }
        };
        format!("{make}\ndrop(client_bootstrap);\nlet client_bootstrap: Client = again;")
    });
}

/// Says that a vat asks for the capability that the first client which reconnects begins with.
pub fn first(sim: &Sim) {
    sim.script(place::MAIN, || {
        "let mut first: Option<Client> = Some(client.bootstrap(Side::Server));".to_owned()
    });
}

/// Says that a client that reconnects connects once more, here and until it has done so.
pub fn again(sim: &Sim, begins: bool) {
    sim.script(place::AGAIN, || begins.to_string());
}

/// Says that a vat begins to run.
pub fn start(sim: &Sim, vat: &str) {
    let vat = variable(vat);
    sim.script(place::MAIN, || {
        format!("let {vat}_system = spawn({vat}.map(drop));")
    });
}

/// Says that a vat's system is destroyed; it may never have run.
pub fn drop_system(vat: &str, runs: bool) -> String {
    let vat = variable(vat);
    match runs {
        true => format!("abort({vat}_system);"),
        false => format!("drop({vat});"),
    }
}

/// Where a disconnector comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// It was asked for before the system ran.
    Taken,
    /// Of the system that does not run yet.
    Idle,
    /// Of the system that runs.
    Running,
}

/// How a disconnector is used.
pub fn disconnect(vat: &str, source: Source, how: &str) -> String {
    let vat = variable(vat);
    let disconnector = match source {
        Source::Taken => format!("{vat}_disconnector"),
        Source::Idle => format!("{vat}.get_disconnector()"),
        Source::Running => format!("running(&{vat}).get_disconnector()"),
    };
    match how {
        "await" => format!("let {vat}_ends = spawn({disconnector}.map(drop));"),
        "poll-once" => format!(
            "let once = {disconnector};\nspawn(async move {{ drop(once.now_or_never()) }});"
        ),
        "now" => format!("drop({disconnector}.now_or_never());"),
        _ => format!("drop({disconnector});"),
    }
}

/// A promise capability and who resolves it.
pub fn promise(number: u32) -> String {
    format!(
        "let (resolver_{number}, receiver) = oneshot::channel::<Client>();\n\
         let receiver = receiver.map_err(|_| Error::failed(\"no result\".to_owned()));\n\
         let cap_{number}: Client = new_future_client(receiver);"
    )
}

/// A bootstrap capability that is asked for while the system runs.
pub fn late_bootstrap(number: u32, vat: &str) -> String {
    let vat = variable(vat);
    let peer = match vat.starts_with(SIDES[0]) {
        true => "Side::Server",
        false => "Side::Client",
    };
    format!("let cap_{number}: Client = running(&{vat}).bootstrap({peer});")
}

impl World {
    /// Says that the owner waits for so many steps, or until nothing can run.
    pub fn script_steps(&self, steps: Option<u64>) {
        self.sim.script(place::STEPS, || {
            steps.map_or_else(String::new, |steps| steps.to_string())
        });
    }

    /// Says that these tasks are dropped, ended or not.
    pub fn script_aborts(&self, calls: &[JoinHandle<()>]) {
        let pending = calls.iter().filter(|call| !call.is_finished());
        self.sim.script(place::MAIN, || {
            pending
                .map(|call| format!("abort({});\n", task(call.name())))
                .collect()
        });
    }
    fn passed(&self, number: u32, side: usize, passed: Option<Passed>) -> Option<String> {
        Some(match passed? {
            Passed::Object => object(SIDES[side], number),
            Passed::Bootstrap(connection) => bootstrap(side, connection),
            Passed::Made(reference) => reference_of(reference),
        })
    }

    /// Says how the calls of an operation are made.
    pub fn script_calls(
        &self,
        number: u32,
        reference: Name,
        passed: Option<Passed>,
        (repeat, chained, streaming): (u32, bool, bool),
    ) {
        if !self.sim.is_scripted() {
            return;
        }
        if repeat > REPEAT_MAX {
            let many = || format!("`op.{number}.repeat` above {REPEAT_MAX}");
            self.sim.script(place::CANNOT, many);
            return;
        }
        let chained = chained && !streaming;
        let side = self.made[number as usize].side;
        let method = match streaming {
            true => "sink",
            false => METHODS[self.ask(3, number) as usize],
        };
        let id = self.objects.ids().of(number, method_id(method));
        let keep = match streaming {
            true => KEEPS[0],
            false => KEEPS[self.ask(6, number) as usize],
        };
        let cancelled = !streaming && self.ask(10, number) == 1;
        let argument = match self.passed(number, side, passed) {
            Some(expression) => format!("Some(&{expression})"),
            None => "None".to_owned(),
        };
        let say = |line: String| self.sim.script(place::MAIN, || line);
        let mut target = reference_of(reference);
        let mut response_place = 0;
        for repetition in 0..repeat as usize {
            let call = numbered("call", number, repetition);
            if streaming {
                say(format!("let sent = stream(&{target}, {id}, {argument});"));
                say(format!("let {call} = spawn(sent.map(drop));"));
                continue;
            }
            let sent = format!("call(&{target}, {id}, {argument})");
            let keeps_cap = keep == "pipelined" || keep == "both";
            let keeps_response = !cancelled && (keep == "response" || keep == "both");
            let is_named = keeps_cap || chained || cancelled;
            if is_named {
                say(format!("let sent = {sent};"));
            }
            if chained {
                let before = std::mem::replace(&mut target, numbered("link", number, repetition));
                say(format!(
                    "let {target} = Client::new(sent.pipeline.as_cap());"
                ));
                if repetition > 0 {
                    say(format!("drop({before});"));
                }
            }
            if keeps_cap {
                let cap = cap(number, repetition);
                say(format!("let {cap} = Client::new(sent.pipeline.as_cap());"));
            }
            if cancelled {
                say("drop(sent.pipeline);\ndrop(sent.promise);".to_owned());
                continue;
            }
            let sent = if is_named { "sent" } else { &sent };
            if keeps_response {
                let kept = numbered("response", number, response_place);
                say(format!("let ({call}, {kept}) = answer({sent});"));
            } else {
                say(format!("let {call} = answer({sent});"));
            }
            response_place += 1;
        }
        if chained {
            say(format!("drop({target});"));
        }
    }

    /// Says what a promise of operation `of` becomes.
    pub fn script_resolve(&self, number: u32, side: usize, of: u32, passed: Option<Passed>) {
        self.sim.script(place::MAIN, || {
            let passed = passed.map(|it| (it, self.passed(number, side, Some(it))));
            match passed {
                Some((Passed::Object, Some(object))) => {
                    format!("drop(resolver_{of}.send({object}));")
                }
                Some((_, Some(cap))) if cap.ends_with(')') => {
                    format!("drop(resolver_{of}.send({cap}));")
                }
                Some((_, Some(cap))) => format!("drop(resolver_{of}.send({cap}.clone()));"),
                _ => format!("drop(resolver_{of});"),
            }
        });
    }

    /// Says what the owner of a side drops when it drops its capabilities.
    pub fn script_drop_caps(&self, side: usize) {
        self.sim.script(place::MAIN, || {
            let of_side = || self.made.iter().filter(|made| made.side == side);
            let caps = of_side().flat_map(|made| {
                let count = 0..made.caps.len();
                count.map(|place| cap(made.number, place))
            });
            let responses = of_side().flat_map(kept);
            let connections = self.net.all();
            let asked = connections.iter().enumerate().filter(|(_, connection)| {
                let bootstrap = connection.parties[side].bootstrap.borrow();
                Option::<&Client>::is_some(&bootstrap.as_ref())
            });
            let bootstraps = asked.map(|(number, _)| bootstrap(side, number));
            drop_all(caps.chain(responses).chain(bootstraps).collect())
        });
    }

    /// Says that what is left of the owners goes, without a word to anybody.
    pub fn script_rest(&self) {
        for made in self.made.iter().filter(|made| made.resolver.is_some()) {
            let gone = || format!("drop(resolver_{});", made.number);
            self.sim.script(place::MAIN, gone);
        }
        self.script_steps(None);
    }
}

/// The capability that has this name in the order of calls, as an expression.
fn reference_of(reference: Name) -> String {
    let (operation, place) = numbers(reference);
    match reference.kind() {
        "response" => format!("capability(&{})", numbered("response", operation, place)),
        "cap" => cap(operation, place),
        _ => {
            let side = usize::from(reference.owner() == SIDES[1]);
            bootstrap(side, reference.index().unwrap_or(0) as usize)
        }
    }
}
