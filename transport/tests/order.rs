//! Does the order of calls tell a call that was overtaken from one that may arrive when it does?
#![allow(clippy::unwrap_used, missing_docs)]

use std::future::{pending, ready};
use std::rc::Rc;

use capnp::Error;
use capnp::capability::{Client, Promise};
use dismantle_sim::{Limits, Name, Plan, Vocabulary, run};
use dismantle_transport::compat::{self, AnyParams, AnyResults, Serve};
use dismantle_transport::{Arrivals, CallOrder, Ticket};
use futures::FutureExt;

const CAP: Name = Name::new("client", "cap");
const OBJECT: Name = Name::new("client", "object");

struct Object;

impl Serve for Object {
    fn call(self: Rc<Self>, _: u64, _: u16, _: AnyParams, _: AnyResults) -> Promise<(), Error> {
        Promise::ok(())
    }
}

/// The rules that `body` saw broken, by a local client.
fn broken(body: impl FnOnce(&CallOrder, &Client, &Arrivals) + Send) -> Vec<String> {
    let plan = Plan::new(Vocabulary {
        scenario: "order",
        limits: Limits::default(),
        parameters: &[],
        questions: dismantle_sim::questions().to_vec(),
    });
    let report = run(&plan, |sim| {
        let client = compat::client(Rc::new(Object));
        let order = CallOrder::new(sim);
        body(&order, &client, &order.arrivals(OBJECT));
        Ok(())
    });
    assert_eq!(report.panics, []);
    let rules = report.breaches.into_iter();
    rules
        .inspect(|breach| assert_eq!(breach.property, "call-order"))
        .map(|breach| breach.rule)
        .collect()
}

/// Makes a call and polls it once.
fn started(order: &CallOrder, client: &Client) -> Ticket {
    let (ticket, ()) = order.make(CAP, client, |_| ());
    assert_eq!(order.follow(ticket, ready(())).now_or_never(), Some(()));
    ticket
}

#[test]
fn what_was_made_and_polled_first_has_to_arrive_first() {
    let rules = broken(|order, client, object| {
        let [first, second, third] = [0; 3].map(|_| started(order, client));
        for ticket in [first, third, second] {
            object.arrive(ticket);
        }
    });
    assert_eq!(rules, ["a call is overtaken within its vat"]);
}

#[test]
fn a_call_may_be_lost() {
    let rules = broken(|order, client, object| {
        let [first, _, third, fourth] = [0; 4].map(|_| started(order, client));
        for ticket in [first, third, fourth] {
            object.arrive(ticket);
        }
    });
    assert_eq!(rules, [""; 0]);
}

#[test]
fn no_call_arrives_twice() {
    let rules = broken(|order, client, object| {
        let ticket = started(order, client);
        object.arrive(ticket);
        object.arrive(ticket);
    });
    assert_eq!(rules, ["a call arrives twice"]);
}

#[test]
fn whoever_polls_the_second_promise_first_asks_for_it() {
    let rules = broken(|order, client, object| {
        let (first, ()) = order.make(CAP, client, |_| ());
        let second = started(order, client);
        object.arrive(second);
        let polled = order.follow(first, pending::<()>()).now_or_never();
        assert_eq!(polled, None);
        object.arrive(first);
    });
    assert_eq!(rules, [""; 0]);
}

#[test]
fn a_streaming_call_that_waits_for_its_poll_is_overtaken() {
    let rules = broken(|order, client, object| {
        let (first, ()) = order.stream(CAP, client, |_| ());
        let (second, ()) = order.make(CAP, client, |_| ());
        for ticket in [first, second] {
            assert_eq!(order.follow(ticket, pending::<()>()).now_or_never(), None);
        }
        object.arrive(second);
        object.arrive(first);
    });
    assert_eq!(
        rules,
        ["a streaming call is overtaken before its first poll"]
    );
}

#[test]
fn two_references_have_no_order() {
    let rules = broken(|order, client, object| {
        let first = started(order, client);
        let other = Name::new("client", "other");
        let (second, ()) = order.make(other, client, |_| ());
        assert_eq!(order.follow(second, ready(())).now_or_never(), Some(()));
        object.arrive(second);
        object.arrive(first);
    });
    assert_eq!(rules, [""; 0]);
}

#[test]
fn two_objects_have_no_order() {
    let rules = broken(|order, client, object| {
        let [first, second] = [0; 2].map(|_| started(order, client));
        object.arrive(second);
        order.arrivals(OBJECT).arrive(first);
    });
    assert_eq!(rules, [""; 0]);
}

#[test]
fn a_call_made_while_another_is_made_comes_before_or_after_it() {
    let rules = broken(|order, client, object| {
        let (outer, inner) = order.make(CAP, client, |_| started(order, client));
        assert_eq!(order.follow(outer, ready(())).now_or_never(), Some(()));
        object.arrive(inner);
        object.arrive(outer);
    });
    assert_eq!(rules, [""; 0]);
}

#[test]
fn a_call_without_a_ticket_is_not_watched() {
    let rules = broken(|order, client, object| {
        let ticket = started(order, client);
        assert_ne!(ticket, Ticket::NONE);
        assert_eq!(Ticket::from_number(ticket.number()), ticket);
        object.arrive(Ticket::NONE);
        object.arrive(Ticket::NONE);
    });
    assert_eq!(rules, [""; 0]);
}
