//! The destruction tree of a teardown: tracked objects, and what upstream destroys with them.
//!
//! Each block that is given back and each tracked object that is destroyed has left its stack. The
//! calls that two stacks share, one after the other, are the same calls; those among them that
//! destroy something (`drop_in_place<T>`) are the nodes. So the tree needs no help from the library
//! under test, and shows what gives back memory: a destructor that frees nothing leaves no note.
//! Of what is destroyed in a loop, one right after the other and without a block of its own, it
//! sees one.

use std::fmt::Write as _;

use dismantle_sim::{Fault, Kind};
use serde::Serialize;

use super::calls::{Call, Calls, Subject};
use super::names::Whose;
use super::stack::grouped;
use crate::worker::symbols::Symbols;

/// Nodes of one parent that are shown one by one.
const CHILDREN_SHOWN_MAX: usize = 200;

/// Nodes within one another that are shown.
const DEPTH_SHOWN_MAX: usize = 32;

/// What was destroyed in a teardown, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Tree {
    /// `explain-tree`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Blocks that were given back.
    pub blocks: u64,
    /// Their size.
    pub bytes: u64,
    /// Destructions that found no room in the notes, or are too deep to be put in their place.
    pub missed: u64,
    /// Whose turn it was: what was destroyed then.
    pub turns: Vec<Turn>,
}

/// A turn of a task or an action of the owner.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Turn {
    /// The step.
    pub step: u64,
    /// Who; none if it was the owner's own code.
    pub who: Option<String>,
    /// Blocks that were given back outside of all that is listed.
    pub blocks: u64,
    /// Their size.
    pub bytes: u64,
    /// What was destroyed: each before what was destroyed with it.
    pub destroyed: Vec<Node>,
}

/// Something that was destroyed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Node {
    /// In how many others; it belongs to the last one before it with one less.
    pub depth: usize,
    /// What: the name of a tracked object, or a type.
    pub what: String,
    /// Whose type it is; null for a tracked object.
    pub whose: Option<Whose>,
    /// Blocks that it gave back, apart from those of what was destroyed with it.
    pub blocks: u64,
    /// Their size.
    pub bytes: u64,
}

impl Tree {
    /// Of what a run has left.
    pub(super) fn of(symbols: &Symbols, notes: &[Fault]) -> Self {
        let mut calls = Calls::new(symbols);
        let mut tree = Self {
            kind: "explain-tree",
            ..Self::default()
        };
        let (mut turn, mut open) = (Turn::default(), Open::default());
        for note in notes {
            let is_placed = match note.kind {
                Kind::Turn => {
                    let who = Some(&note.text).filter(|who| !who.is_empty());
                    let next = Turn {
                        step: note.number,
                        who: who.cloned(),
                        ..Turn::default()
                    };
                    tree.end_turn(std::mem::replace(&mut turn, next));
                    open = Open::default();
                    true
                }
                Kind::Freed => {
                    tree.blocks += 1;
                    tree.bytes += note.number;
                    open.free(&mut turn, calls.of(note), note)
                }
                Kind::Destroyed => open.destroy(&mut turn, calls.of(note), note),
                Kind::Missed => {
                    tree.missed += note.number;
                    true
                }
                Kind::Fatal | Kind::Overflow | Kind::Sample | Kind::Deepest => true,
            };
            tree.missed += u64::from(!is_placed);
        }
        tree.end_turn(turn);
        tree
    }

    fn end_turn(&mut self, turn: Turn) {
        if turn.blocks > 0 || !turn.destroyed.is_empty() {
            self.turns.push(turn);
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("a String takes all writes");
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let all = blocks(self.blocks, self.bytes);
        writeln!(text, "destruction of the teardown:{all}")?;
        for turn in &self.turns {
            let who = turn.who.as_deref().unwrap_or("the owner");
            let blocks = blocks(turn.blocks, turn.bytes);
            writeln!(text, "  step {}, by {who}{blocks}", turn.step)?;
            write_nodes(text, &turn.destroyed)?;
        }
        match self.missed {
            0 => Ok(()),
            missed => writeln!(text, "  and {} blocks and objects more", grouped(missed)),
        }
    }
}

/// The calls that the last note was left in, outermost first, each with its node.
#[derive(Default)]
struct Open(Vec<(Call, usize)>);

impl Open {
    /// A block is given back in these calls; whether they are known down to the outermost.
    fn free(&mut self, turn: &mut Turn, mut calls: Vec<Call>, note: &Fault) -> bool {
        let is_open = |last: &Call| self.0.iter().any(|(open, _)| open.is(last));
        calls.pop_if(|last| last.wraps_pointer && !is_open(last));
        if !self.enter(turn, calls, note) {
            return false;
        }
        let (blocks, bytes) = match self.0.last() {
            Some((_, node)) => {
                let node = &mut turn.destroyed[*node];
                (&mut node.blocks, &mut node.bytes)
            }
            None => (&mut turn.blocks, &mut turn.bytes),
        };
        *blocks += 1;
        *bytes += note.number;
        self.0.pop_if(|(call, _)| call.wraps);
        true
    }

    /// A tracked object is destroyed in the innermost of these calls that do so.
    fn destroy(&mut self, turn: &mut Turn, mut calls: Vec<Call>, note: &Fault) -> bool {
        let tracker = calls.iter().rposition(|call| call.tracker().is_some());
        let end = tracker.and_then(|place| calls[place].tracker());
        calls.truncate(tracker.unwrap_or(calls.len()));
        if !self.enter(turn, calls, note) {
            return false;
        }
        let call = Call::tracked(end.unwrap_or(0), &note.text);
        self.push(turn, call);
        true
    }

    /// These calls are the open ones: as far as they are the same, with their nodes. Of a stack that
    /// was not kept whole the outermost calls are missing; whether the others can be put in place.
    fn enter(&mut self, turn: &mut Turn, calls: Vec<Call>, note: &Fault) -> bool {
        let mut shared = 0;
        if note.depth_bytes > note.stack.len() as u64 {
            let first = calls.first();
            let place = first.and_then(|first| self.0.iter().position(|(open, _)| open.is(first)));
            match place {
                Some(place) => shared = place,
                None => return false,
            }
        }
        let mut calls = calls.into_iter().peekable();
        while let Some(call) = calls.peek() {
            match self.0.get(shared) {
                Some((open, _)) if open.is(call) => {
                    // It may have come from what it wraps to the value, or back.
                    self.0[shared].0.wraps = call.wraps;
                    shared += 1;
                }
                // A tracked object without a note: its destruction began before the teardown.
                _ if call.subject == Subject::Tracked(None) => {}
                _ => break,
            }
            calls.next();
        }
        self.0.truncate(shared);
        for call in calls.filter(|call| call.subject != Subject::Tracked(None)) {
            self.push(turn, call);
        }
        true
    }

    fn push(&mut self, turn: &mut Turn, call: Call) {
        let (what, whose) = match &call.subject {
            Subject::Type(name, whose) => (name.to_string(), Some(*whose)),
            Subject::Tracked(name) => (name.as_deref().unwrap_or_default().to_owned(), None),
        };
        turn.destroyed.push(Node {
            depth: self.0.len(),
            what,
            whose,
            blocks: 0,
            bytes: 0,
        });
        self.0.push((call, turn.destroyed.len() - 1));
    }
}

/// The nodes of one parent, with what is within them; equal ones in a row once.
fn write_nodes(text: &mut String, mut nodes: &[Node]) -> std::fmt::Result {
    let mut shown = 0;
    while let Some(first) = nodes.first() {
        let indent = 4 + 2 * first.depth;
        if shown == CHILDREN_SHOWN_MAX || first.depth == DEPTH_SHOWN_MAX {
            let more = grouped(nodes.len() as u64);
            return writeln!(text, "{:indent$}and {more} more", "");
        }
        let (this, mut rest) = nodes.split_at(size(nodes));
        let mut count = 1;
        while rest.starts_with(this) && size(rest) == this.len() {
            rest = &rest[this.len()..];
            count += 1;
        }
        let times = match count {
            1 => String::new(),
            count => format!(" x {}", grouped(count)),
        };
        let whose = first
            .whose
            .map_or_else(String::new, |whose| format!("  ({})", whose.word()));
        let blocks = blocks(first.blocks, first.bytes);
        writeln!(text, "{:indent$}{}{times}{whose}{blocks}", "", first.what)?;
        write_nodes(text, &this[1..])?;
        nodes = rest;
        shown += 1;
    }
    Ok(())
}

/// How many nodes the first of these is, with what is within it.
fn size(nodes: &[Node]) -> usize {
    let within = |node: &&Node| node.depth > nodes[0].depth;
    1 + nodes[1..].iter().take_while(within).count()
}

fn blocks(blocks: u64, bytes: u64) -> String {
    match blocks {
        0 => String::new(),
        1 => format!("  1 block, {} B", grouped(bytes)),
        _ => format!("  {} blocks, {} B", grouped(blocks), grouped(bytes)),
    }
}
