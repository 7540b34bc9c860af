//! The built-in object as a program of its own would write it: what is served, and how.
//!
//! A program has no interface ids to tell calls apart by: the number of the operation is the id of
//! the method, and what an object calls by itself has a number behind those.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use dismantle_sim::Sim;
use dismantle_sim::heap::uncounted;

use super::object::Call;

/// Where a line belongs.
pub mod place {
    /// A statement of the owner.
    pub const MAIN: &str = "main";
    /// So many polls, or all until nothing can run.
    pub const STEPS: &str = "steps";
    /// How many that were.
    pub const MADE: &str = "made";
    /// What a method does: its id, a line feed, the arm of a `match`.
    pub const METHOD: &str = "method";
    /// What becomes of a call, in the same form.
    pub const OUTCOME: &str = "outcome";
    /// The id of a streaming method.
    pub const STREAM: &str = "stream";
    /// What follows is done by the destructor of this object.
    pub const DROP: &str = "drop";
    /// A statement of a destructor that acts.
    pub const ACT: &str = "act";
    /// What the owner says next is said by a client that connects again: `true`, or no more.
    pub const AGAIN: &str = "again";
    /// Both directions of the connection die.
    pub const RESET: &str = "reset";
    /// The objects forget what they keep, and whoever waits for ever gives up.
    pub const FORGET: &str = "forget";
    /// What no program can be written of, and why.
    pub const CANNOT: &str = "cannot";
}

/// Calls of further methods within one operation are numbered by this step.
const INNER_STRIDE: u32 = 100;

/// The ids that methods have in a program.
#[derive(Clone)]
pub struct Ids(Rc<RefCell<BTreeMap<u32, Vec<u16>>>>);

impl Default for Ids {
    fn default() -> Self {
        // What a script needs is not the run's.
        let pause = uncounted();
        let ids = Self(Rc::default());
        drop(pause);
        ids
    }
}

impl Ids {
    /// The id of a method of an operation: the operation's number for the one that came first.
    pub fn of(&self, operation: u32, method: u16) -> u32 {
        let mut ids = self.0.borrow_mut();
        let methods = ids.entry(operation).or_default();
        let place = methods.iter().position(|known| *known == method);
        let place = place.unwrap_or_else(|| {
            methods.push(method);
            methods.len() - 1
        });
        operation + INNER_STRIDE * place as u32
    }
}

/// Says what becomes of a call, if that is not what its method makes of it.
pub fn outcome(sim: &Sim, id: u32, outcome: &str, after_work: bool, late_us: impl Fn() -> u64) {
    let error = match outcome {
        "answers" => return,
        "failed" | "overloaded" | "disconnected" | "unimplemented" => {
            format!("Err(Error::{outcome}(\"thrown on purpose\".to_owned()))")
        }
        _ => String::new(),
    };
    sim.script(place::OUTCOME, || {
        let lines = match (outcome, after_work) {
            ("never", false) => "pending::<()>().await;\nwork.await".to_owned(),
            ("never", true) => {
                "work.await?;\npending::<()>().await;\ndrop(this);\nOk(())".to_owned()
            }
            ("late", false) => format!("sleep_us({}).await;\nwork.await", late_us()),
            ("late", true) => format!("work.await?;\nsleep_us({}).await;\nOk(())", late_us()),
            (_, false) => format!("drop(work);\n{error}"),
            (_, true) => format!("work.await?;\n{error}"),
        };
        format!("{id}\n{lines}")
    });
}

/// What a method is given and asked for.
pub struct Method<'a> {
    /// Its name.
    pub name: &'a str,
    /// The call.
    pub call: Call,
    /// Its id.
    pub id: u32,
    /// The vat that serves it.
    pub vat: &'a str,
    /// Whether a capability was passed.
    pub argument: bool,
    /// What a promise becomes.
    pub resolution: &'a str,
    /// How late it is.
    pub late_us: u64,
}

/// Says what a method does.
pub fn method(sim: &Sim, ids: &Ids, method: &Method<'_>) {
    let inner = |name| ids.of(method.call.operation, super::object::method_id(name));
    let object = || object(method.vat, method.call.index());
    let late = match method.late_us {
        0 => String::new(),
        late_us => format!("sleep_us({late_us}).await;\n"),
    };
    sim.script(place::METHOD, || {
        let lines = match method.name {
            "echo" => "put(results.get(), cap.as_ref());".to_owned(),
            "keep" => "drop(this.0.kept.replace(cap));".to_owned(),
            "kept" => {
                "let kept = this.0.kept.borrow().clone();\nput(results.get(), kept.as_ref());"
                    .to_owned()
            }
            "new" => format!("put(results.get(), Some(&{}));", object()),
            "own" => "put(results.get(), Some(&new_client(*this)));".to_owned(),
            "slow" => format!("{late}put(results.get(), Some(&new_client(*this)));"),
            "promise" => {
                let becomes = match (method.resolution, method.argument) {
                    ("argument", true) => "Ok(cap.unwrap())".to_owned(),
                    ("object" | "argument", _) => format!("Ok({})", object()),
                    ("error", _) => "Err(Error::failed(\"no result\".to_owned()))".to_owned(),
                    _ => "pending().await".to_owned(),
                };
                format!(
                    "let promise: Client = new_future_client(async move {{\n{late}{becomes}\n}});\n\
                     put(results.get(), Some(&promise));"
                )
            }
            "early" => format!(
                "put(results.get(), Some(&{}));\nresults.set_pipeline()?;\n{late}",
                object()
            ),
            "callback" if method.argument => {
                format!(
                    "drop(call(&cap.unwrap(), {}, None).promise.await?);",
                    inner("echo")
                )
            }
            "relay" => format!(
                "let target = this.0.kept.borrow().clone(){};\n\
                 if let Some(target) = target {{\n\
                 \x20let response = call(&target, {}, None).promise.await?;\n\
                 \x20let given = response.get()?.get_as_capability().ok();\n\
                 \x20put(results.get(), given.as_ref());\n\
                 }}",
                if method.argument { ".or(cap)" } else { "" },
                inner("new"),
            ),
            _ => String::new(),
        };
        format!("{}\n{}", method.id, lines.trim_end())
    });
}

/// A new object, as an expression.
pub fn object(vat: &str, number: u32) -> String {
    format!("object(\"{vat}/object/{number}\")")
}
