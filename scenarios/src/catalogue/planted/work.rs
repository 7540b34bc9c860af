//! Bugs whose work grows with the square of the workload: a queue that is copied for each message
//! that leaves it, and messages that wake all who wait.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use dismantle_sim::{Name, Phase, Question, Sim, Stopped, share};

use crate::check::Class;
use crate::scenario::{Planted, Scenario};

const FORMS: [&str; 3] = ["copied", "wakes-all", "fair"];

static WORK: [Question; 2] = [
    Question::count(
        "messages",
        (0, 100_000),
        10,
        &[share(15, 0, 10), share(1, 300, 400)],
    )
    .about("messages, each of which a task of its own waits for"),
    Question::word("form", &FORMS, &[])
        .about("what a message costs: a copy of the queue, a wake of all who wait, or neither"),
];

/// A queue whose messages wake who waits for them, with the bugs and without.
pub struct PlantedWork;

#[derive(Default)]
struct Board {
    /// Messages so far, in the order of their numbers.
    arrived: Cell<usize>,
    /// By the number of the message that is waited for.
    wakers: RefCell<Vec<Option<Waker>>>,
}

impl Board {
    async fn message(&self, number: usize) {
        poll_fn(|context| {
            if number < self.arrived.get() {
                return Poll::Ready(());
            }
            self.wakers.borrow_mut()[number] = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn put(&self, wakes_all: bool) {
        let number = self.arrived.replace(self.arrived.get() + 1);
        let mut wakers = self.wakers.borrow_mut();
        let woken = match wakes_all {
            true => &mut wakers[..],
            false => &mut wakers[number..=number],
        };
        woken
            .iter_mut()
            .filter_map(Option::take)
            .for_each(Waker::wake);
    }
}

impl Scenario for PlantedWork {
    fn name(&self) -> &'static str {
        "planted-work"
    }

    fn about(&self) -> &'static str {
        "a queue that is copied for each message that leaves it (work-growth)"
    }

    fn parameters(&self) -> &'static [Question] {
        &WORK
    }

    fn over(&self) -> Option<&'static str> {
        Some("messages")
    }

    fn planted(&self) -> Option<Planted> {
        Some(Planted {
            class: Class::WorkGrowth,
            clean: ("form", "fair"),
        })
    }

    fn run(&self, sim: &Sim) -> Result<(), Stopped> {
        let count = sim.ask(&WORK[0], &[]) as usize;
        let form = FORMS[sim.ask(&WORK[1], &[]) as usize];
        let board = Rc::new(Board::default());
        board.wakers.borrow_mut().resize(count, None);
        let mut queue: VecDeque<Box<usize>> = (0..count).map(Box::new).collect();
        sim.enter(Phase::Drive, || {
            for number in 0..count {
                let board = board.clone();
                let name = Name::numbered("client", "waiter", number as u32);
                sim.spawn_must_end(name, async move { board.message(number).await });
            }
            sim.settle()?;
            while queue.pop_front().is_some() {
                if form == "copied" {
                    queue = queue.clone();
                }
                board.put(form == "wakes-all");
                sim.settle()?;
            }
            Ok(())
        })?;
        sim.enter(Phase::Teardown, || {
            sim.act(Name::new("owner", "drop-board"), || drop(board))?;
            Ok(())
        })
    }
}
