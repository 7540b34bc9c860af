//! A peer that breaks the protocol and is taken for one that does not.

use capnp_rpc::rpc_twoparty_capnp::Side;
use dismantle_sim::{Name, Phase, Question, Sim, Stopped};
use dismantle_transport::{Link, RawPeer, Says, Vat, frame};

use super::super::object::Objects;
use super::super::wire::judge_abort;
use super::{CHANCE, CLEAN, strikes};
use crate::check::Class;
use crate::scenario::Planted;

planted!(
    /// Releases what it does not hold, so that the vat ends the connection.
    PlantedWire,
    "planted-wire",
    "a vat that ends a conversation taken for legal (protocol)",
    Protocol,
    sim => {
        let (link, peer_end, vat_end) = Link::new(sim);
        let objects = Objects::new(sim);
        let vat = Vat::new(sim, Side::Server, vat_end, Some(objects.make("server", 0)));
        vat.start();
        let peer = RawPeer::new(sim, "raw", peer_end);
        peer.send(&frame(|message| message.init_bootstrap().set_question_id(0)));
        sim.settle()?;
        // The bootstrap capability is export 0, and the peer has one reference to it.
        let count = if strikes(sim) { 2 } else { 1 };
        peer.send(&frame(|message| message.init_release().set_reference_count(count)));
        sim.settle()?;
        for heard in peer.hear() {
            if let Says::Abort { kind, reason } = heard.says {
                judge_abort(sim, kind, &reason);
            }
        }
        peer.close();
        sim.settle()?;
        sim.act(Name::new("raw", "reset"), || link.to_server().reset())?;
        sim.settle()?;
        drop(peer);
        vat.drop_system()
    }
);
