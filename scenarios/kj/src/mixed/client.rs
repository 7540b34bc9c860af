//! The client's owner: makes calls through either library, and holds what they come to.

use std::cell::RefCell;
use std::rc::Rc;

use dismantle_sim::{JoinHandle, Name, Question, Stopped, share};
use dismantle_transport::Link;
use futures::future::LocalBoxFuture;

use super::deed::{Id, method, needs_argument, returns_capability};
use super::shared::Shared;

const ARGUMENTS: [&str; 3] = ["none", "object", "given"];
const PIPELINED: [&str; 2] = ["awaited", "pipelined"];
const KEEPS: [&str; 4] = ["nothing", "pipelined", "result", "both"];
const THENS: [&str; 3] = ["waits", "holds", "drops"];

/// A number of steps that stands for "until nothing can run".
pub const UNTIL_REST: u64 = 10_000;

/// Decisions about each operation of the client's.
pub static QUESTIONS: [Question; 8] = [
    Question::count("op.*.on", (0, 64), 0, &[share(1, 0, 0), share(3, 1, 12)])
        .about("whose capability is called: that of an earlier operation, or 0 for the bootstrap"),
    Question::word("op.*.how", &PIPELINED, &[share(1, 0, 0), share(2, 1, 1)])
        .about("whether that is what it returned or what is pipelined on it, if it has both"),
    Question::word(
        "op.*.argument",
        &ARGUMENTS,
        &[share(1, 0, 0), share(2, 1, 1), share(1, 2, 2)],
    )
    .about("what it passes: nothing, an object of the client's own, an earlier capability"),
    Question::count("op.*.given", (0, 64), 0, &[share(1, 0, 12)])
        .about("of which operation that is, or 0 for the bootstrap"),
    Question::word("op.*.keep", &KEEPS, &[share(1, 0, 0), share(2, 1, 3)])
        .about("what the owner keeps of it, for later operations"),
    Question::word("op.*.then", &THENS, &[share(6, 0, 0), share(1, 1, 2)])
        .about("whether a task waits for the answer, or the owner holds or drops the promise"),
    Question::count(
        "op.*.repeat",
        (1, 1_000_000),
        1,
        &[share(6, 1, 1), share(1, 2, 12)],
    )
    .about("how often it is made, at once"),
    Question::count(
        "op.*.steps",
        (0, UNTIL_REST),
        UNTIL_REST,
        &[share(3, 0, 40), share(1, UNTIL_REST, UNTIL_REST)],
    )
    .counts_steps()
    .about("steps of the system after it; 10000 is until it rests"),
];

/// One call that is about to be made.
#[derive(Clone, Copy)]
pub struct Making<'a, Cap> {
    /// What it is called.
    pub name: Name,
    /// What it is called on, by name.
    pub reference: Name,
    /// What it is called on.
    pub on: &'a Cap,
    /// Which one it is; without a ticket.
    pub id: Id,
    /// Id and name of its method.
    pub method: (u16, &'static str),
    /// What it passes.
    pub argument: Option<&'a Cap>,
    /// Whether the owner wants what can be pipelined on it.
    pub pipelines: bool,
    /// It may have to fail, because what it is called on or passes may be no capability.
    pub fails: bool,
}

impl<Cap> Making<'_, Cap> {
    /// What it travels as. What is called back is no matter of order: such a call has no ticket.
    pub fn numbered(&self, ticket: u32) -> Id {
        let ticket = match needs_argument(self.method.1) {
            true => 0,
            false => ticket,
        };
        Id { ticket, ..self.id }
    }

    /// Whether its method is a streaming one.
    pub fn is_streaming(&self) -> bool {
        self.method.1 == "stream"
    }

    /// The name of what is pipelined on it, if the owner wants that.
    pub fn pipelines(&self) -> Option<Name> {
        self.pipelines.then(|| self.name.with_kind("pipelined"))
    }
}

/// A call that was made.
pub struct Sent<Cap> {
    /// What it will have returned.
    pub pipelined: Option<Cap>,
    /// Its answer: a capability perhaps. What it fails with is judged within. Unpolled it is the
    /// promise, held; dropped it cancels.
    pub answer: LocalBoxFuture<'static, Option<Cap>>,
}

/// One of the two libraries, as a client.
pub trait Caller {
    /// A capability.
    type Cap: 'static;

    /// A capability to a new object of the client's own.
    fn object(&self, name: Name) -> Self::Cap;

    /// Makes a call.
    fn call(&self, making: Making<'_, Self::Cap>) -> Sent<Self::Cap>;
}

/// What came of one operation.
struct Made<Cap> {
    /// What is pipelined on it may be no capability.
    is_null: bool,
    pipelined: Vec<Rc<Cap>>,
    results: Rc<RefCell<Vec<Rc<Cap>>>>,
    tasks: Vec<JoinHandle<()>>,
    promises: Vec<LocalBoxFuture<'static, Option<Cap>>>,
}

/// A capability that the owner holds.
struct Found<Cap> {
    name: Name,
    cap: Rc<Cap>,
    is_null: bool,
}

/// Who owns the client's promises and capabilities.
pub struct Owner<C: Caller> {
    shared: Rc<Shared>,
    caller: C,
    bootstrap: Option<Rc<C::Cap>>,
    made: Vec<Made<C::Cap>>,
}

impl<C: Caller> Owner<C> {
    /// Has made no call yet.
    pub fn new(shared: &Rc<Shared>, caller: C, bootstrap: C::Cap) -> Self {
        Self {
            shared: shared.clone(),
            caller,
            bootstrap: Some(Rc::new(bootstrap)),
            made: Vec::new(),
        }
    }

    /// Makes `count` operations with their steps.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn operate(&mut self, link: &Link, count: u32) -> Result<(), Stopped> {
        let sim = self.shared.sim.clone();
        let mut rests = 0;
        for number in 1..=count {
            if sim.is_cut() {
                break;
            }
            sim.operation(number);
            link.operation(number);
            let made = self.make(number);
            self.made.push(made);
            match sim.ask(&QUESTIONS[7], &[number.into()]) {
                UNTIL_REST => {
                    sim.settle()?;
                    rests += 1;
                    link.rest(rests);
                }
                steps => drop(sim.steps(steps)?),
            }
        }
        Ok(())
    }

    fn make(&self, operation: u32) -> Made<C::Cap> {
        let sim = &self.shared.sim;
        let ask = |index: usize| sim.ask(&QUESTIONS[index], &[operation.into()]);
        let mut made = Made {
            is_null: false,
            pipelined: Vec::new(),
            results: Rc::default(),
            tasks: Vec::new(),
            promises: Vec::new(),
        };
        let method = method(sim, operation);
        let argument = match ARGUMENTS[ask(2) as usize] {
            // What keeps an object of its own vat might keep itself.
            "given" if method.1 == "keep" => "object",
            "none" if needs_argument(method.1) => "object",
            argument => argument,
        };
        let how = PIPELINED[ask(1) as usize];
        let (on, given) = (self.find(ask(0), how), self.find(ask(3), how));
        let fails = on.is_null || argument == "given" && given.is_null;
        made.is_null = fails || !returns_capability(sim, method.1, argument != "none");
        let keeps = KEEPS[ask(4) as usize];
        let then = THENS[ask(5) as usize];
        for repetition in 0..ask(6) as u32 {
            let id = Id {
                operation,
                repetition,
                ticket: 0,
            };
            let own = Name::numbered("client", "own", id.index());
            let own = (argument == "object").then(|| self.caller.object(own));
            let argument = match argument {
                "given" => Some(&*given.cap),
                _ => own.as_ref(),
            };
            let sent = self.caller.call(Making {
                name: Name::numbered("client", "call", id.index()),
                reference: on.name,
                on: &on.cap,
                id,
                method,
                argument,
                pipelines: ["pipelined", "both"].contains(&keeps),
                fails,
            });
            made.pipelined.extend(sent.pipelined.map(Rc::new));
            let results = ["result", "both"]
                .contains(&keeps)
                .then(|| made.results.clone());
            let answer = sent.answer;
            match then {
                "waits" => {
                    let name = Name::numbered("client", "call", id.index());
                    let task = sim.spawn_must_end(name, async move {
                        let result = answer.await;
                        if let (Some(results), Some(result)) = (results, result) {
                            results.borrow_mut().push(Rc::new(result));
                        }
                    });
                    made.tasks.push(task);
                }
                "holds" => made.promises.push(answer),
                _ => {
                    self.shared.cancelled();
                    drop(answer);
                }
            }
        }
        made
    }

    /// The capability of an operation: of the nearest earlier one that has any, at last the
    /// bootstrap.
    fn find(&self, operation: u64, how: &str) -> Found<C::Cap> {
        for (place, made) in self.made.iter().enumerate().take(operation as usize).rev() {
            let result = made.results.borrow().first().cloned();
            let result = result.map(|cap| ("result", cap));
            let pipelined = made.pipelined.first().cloned();
            let pipelined = pipelined.map(|cap| ("pipelined", cap));
            let found = match how {
                "pipelined" => pipelined.or(result),
                _ => result.or(pipelined),
            };
            if let Some((kind, cap)) = found {
                return Found {
                    name: Name::numbered("client", kind, place as u32 + 1),
                    cap,
                    is_null: made.is_null,
                };
            }
        }
        let bootstrap = self.bootstrap.clone();
        Found {
            name: Name::new("client", "bootstrap"),
            cap: bootstrap.expect("nothing is called once it is dropped"),
            is_null: false,
        }
    }

    /// Cancels what is waited for and drops what is held.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn drop_promises(&mut self) -> Result<(), Stopped> {
        self.shared.cancelled();
        let made = &mut self.made;
        let tasks: Vec<_> = made.iter_mut().flat_map(|it| it.tasks.drain(..)).collect();
        let promises = made.iter_mut().flat_map(|it| it.promises.drain(..));
        let promises: Vec<_> = promises.collect();
        let action = Name::new("client", "drop-promises");
        self.shared.sim.act(action, || {
            tasks.iter().for_each(JoinHandle::abort);
            drop(promises);
        })?;
        Ok(())
    }

    /// Drops what is held and not waited for: nobody hears of those.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn drop_held(&mut self) -> Result<(), Stopped> {
        let made = self.made.iter_mut();
        let promises: Vec<_> = made.flat_map(|it| it.promises.drain(..)).collect();
        let action = Name::new("client", "drop-held");
        self.shared.sim.act(action, || drop(promises))?;
        Ok(())
    }

    /// Drops all capabilities.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn drop_caps(&mut self) -> Result<(), Stopped> {
        let bootstrap = self.bootstrap.take();
        let mut caps = Vec::new();
        for made in &mut self.made {
            caps.append(&mut made.pipelined);
            caps.append(&mut made.results.borrow_mut());
        }
        let action = Name::new("client", "drop-caps");
        self.shared.sim.act(action, || drop((caps, bootstrap)))?;
        Ok(())
    }
}
