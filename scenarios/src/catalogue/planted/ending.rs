//! Bugs that show at the end of a run: what waits or remains.

use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;

use dismantle_sim::{Name, Phase, Question, Sim, Stopped, Tracked};

use super::{CHANCE, CLEAN, strikes};
use crate::check::Class;
use crate::scenario::Planted;

planted!(
    /// Waits for an answer that nobody sends.
    PlantedHang,
    "planted-hang",
    "a call whose answer is lost (hang)",
    Hang,
    sim => {
        let name = Name::new("client", "call");
        let answered = !strikes(sim);
        sim.spawn_must_end(name, async move {
            if !answered {
                pending::<()>().await;
            }
        });
        sim.settle()
    }
);

planted!(
    /// Two objects that keep each other alive.
    PlantedLeak,
    "planted-leak",
    "two objects that own each other (leak)",
    Leak,
    sim => {
        let first = Rc::new(sim.track(Name::numbered("owner", "node", 0), Node::default()));
        let second = Rc::new(sim.track(Name::numbered("owner", "node", 1), Node::default()));
        *first.other.borrow_mut() = Some(second.clone());
        if strikes(sim) {
            *second.other.borrow_mut() = Some(first.clone());
        }
        sim.act(Name::new("owner", "drop-nodes"), || drop((first, second)))?;
        Ok(())
    }
);

planted!(
    /// A listener that keeps what it listens to, which keeps it: memory that nobody tracks.
    PlantedHeap,
    "planted-heap",
    "memory that is never given back, of no tracked object (leak)",
    Leak,
    sim => {
        let source = Rc::new(Source::default());
        let listened = source.clone();
        let listener: Listener = Box::new(move || listened.listeners.borrow().len());
        if strikes(sim) {
            source.listeners.borrow_mut().push(listener);
        }
        sim.act(Name::new("owner", "drop-source"), || drop(source))?;
        Ok(())
    }
);

type Listener = Box<dyn Fn() -> usize>;

#[derive(Default)]
struct Source {
    listeners: RefCell<Vec<Listener>>,
}

#[derive(Default)]
struct Node {
    other: RefCell<Option<Rc<Tracked<Node>>>>,
}
