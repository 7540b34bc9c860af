//! The service: a chat room. There is no word of `dismantle` in it.
//!
//! Who holds whom: a membership holds the room, the room holds the listeners, and the listeners
//! are the members' own. A membership is held by its member alone, so that it goes when the
//! member drops it, or when the connection does; its end takes the listener out of the room.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use capnp::Error;
use futures::future::join_all;

use crate::chat_capnp::{listener, membership, message, room, sink};

/// Where the service runs: what is one thing in production and another under test.
pub trait Host {
    /// Makes a membership a capability: in production, `capnp_rpc::new_client`.
    fn serve(&self, membership: Membership) -> membership::Client;

    /// What lives as long as one of the service's objects: in production, the span of a log.
    fn guard(&self, object: &'static str, number: u32) -> Box<dyn Any>;
}

/// A room, by any number of handles.
#[derive(Clone)]
pub struct Room(Rc<Shared>);

struct Shared {
    host: Box<dyn Host>,
    state: RefCell<State>,
    _guard: Box<dyn Any>,
}

#[derive(Default)]
struct State {
    /// By the number of their joining.
    members: BTreeMap<u32, Member>,
    joined: u32,
    messages: Vec<Message>,
}

#[derive(Clone)]
struct Member {
    name: String,
    listener: listener::Client,
}

#[derive(Clone)]
struct Message {
    number: u32,
    author: String,
    text: String,
}

impl Message {
    fn write(&self, mut to: message::Builder<'_>) {
        to.set_number(self.number);
        to.set_author(&self.author[..]);
        to.set_text(&self.text[..]);
    }
}

impl Room {
    /// An empty room.
    pub fn new(host: Box<dyn Host>) -> Self {
        let guard = host.guard("room", 0);
        Self(Rc::new(Shared {
            host,
            state: RefCell::default(),
            _guard: guard,
        }))
    }

    /// How many are in it.
    pub fn members(&self) -> usize {
        self.0.state.borrow().members.len()
    }

    fn leave(&self, number: u32) {
        let member = self.0.state.borrow_mut().members.remove(&number);
        // Not while the room is borrowed: who knows what the end of a listener does.
        drop(member);
    }

    /// Says it to everyone; the number of the message when all have heard it or are out.
    async fn post(self, author: u32, text: String) -> Result<u32, Error> {
        let (message, members) = {
            let mut state = self.0.state.borrow_mut();
            let member = state.members.get(&author);
            let author = member.ok_or_else(|| Error::failed("not in the room".to_owned()))?;
            let message = Message {
                number: state.messages.len() as u32 + 1,
                author: author.name.clone(),
                text,
            };
            state.messages.push(message.clone());
            (message, state.members.clone())
        };
        let hearings = members.into_iter().map(|(number, member)| {
            let mut request = member.listener.heard_request();
            message.write(request.get().init_message());
            let heard = request.send().promise;
            let room = self.clone();
            async move {
                if heard.await.is_err() {
                    room.leave(number);
                }
            }
        });
        join_all(hearings).await;
        Ok(message.number)
    }
}

impl room::Server for Room {
    async fn join(
        self: Rc<Self>,
        params: room::JoinParams,
        mut results: room::JoinResults,
    ) -> Result<(), Error> {
        let params = params.get()?;
        let member = Member {
            name: params.get_name()?.to_string()?,
            listener: params.get_listener()?,
        };
        let number = {
            let mut state = self.0.state.borrow_mut();
            state.joined += 1;
            let number = state.joined;
            state.members.insert(number, member);
            number
        };
        let host = &self.0.host;
        let membership = Membership {
            room: Room::clone(&self),
            number,
            _guard: host.guard("membership", number),
        };
        results.get().set_membership(host.serve(membership));
        Ok(())
    }
}

/// Being in a room; its end is leaving.
pub struct Membership {
    room: Room,
    number: u32,
    _guard: Box<dyn Any>,
}

impl Membership {
    /// Its number in the order of joining, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.room.leave(self.number);
    }
}

impl membership::Server for Membership {
    async fn post(
        self: Rc<Self>,
        params: membership::PostParams,
        mut results: membership::PostResults,
    ) -> Result<(), Error> {
        let text = params.get()?.get_text()?.to_string()?;
        let number = self.room.clone().post(self.number, text).await?;
        results.get().set_number(number);
        Ok(())
    }

    async fn history(
        self: Rc<Self>,
        params: membership::HistoryParams,
        mut results: membership::HistoryResults,
    ) -> Result<(), Error> {
        let (from, to): (_, sink::Client) = (params.get()?.get_from(), params.get()?.get_to()?);
        let messages = {
            let state = self.room.0.state.borrow();
            let messages = state.messages.iter();
            let wanted: Vec<Message> = messages
                .filter(|message| message.number >= from)
                .cloned()
                .collect();
            wanted
        };
        for message in &messages {
            let mut request = to.put_request();
            message.write(request.get().init_message());
            // Waits while too much is under way, and no longer.
            request.send().await?;
        }
        to.done_request().send().promise.await?;
        results.get().set_count(messages.len() as u32);
        Ok(())
    }
}
