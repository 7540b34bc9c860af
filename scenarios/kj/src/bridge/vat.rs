//! Vats: the library's own `TwoPartyClient` and `TwoPartyServer`.

use dismantle_sim::{Name, Tracked};

use super::capability::{Capability, Waiting};
use super::event_loop::{EventLoop, Thrown};
use super::ffi;
use super::stream::Stream;

/// A side of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Connects.
    Client,
    /// Accepts.
    Server,
}

/// A `TwoPartyClient`, which may serve as well, destroyed when it is dropped, and then its stream.
pub struct Vat(Tracked<Raw>);

struct Raw {
    raw: *mut ffi::Vat,
    on: EventLoop,
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: it is the only owner.
        self.on.0.run(|| unsafe { ffi::dk_vat_delete(self.raw) });
    }
}

impl Vat {
    /// A vat on `stream`, with a bootstrap capability if it serves one; a server does.
    ///
    /// # Panics
    /// If they are not all on the loop `on`, or a server serves nothing.
    pub fn new(
        on: &EventLoop,
        name: Name,
        stream: Stream,
        side: Side,
        bootstrap: Option<&Capability>,
    ) -> Self {
        assert!(
            side == Side::Client || bootstrap.is_some(),
            "a server serves"
        );
        stream.must_be_on(on);
        bootstrap.into_iter().for_each(|it| it.on().must_be(on));
        let bootstrap = bootstrap.map_or(std::ptr::null_mut(), Capability::raw);
        let is_server = (side == Side::Server).into();
        let stream = stream.into_raw();
        // SAFETY: the shim takes the stream, and a reference to the capability.
        let raw =
            on.0.make(|| unsafe { ffi::dk_vat_new(stream, bootstrap, is_server) });
        let raw = Raw {
            raw,
            on: on.clone(),
        };
        Self(on.sim().track(name, raw))
    }

    /// The peer's bootstrap capability.
    pub fn bootstrap(&self, name: Name) -> Capability {
        let on = &self.0.on;
        // SAFETY: it lives as long as this.
        let raw = on.0.make(|| unsafe { ffi::dk_vat_bootstrap(self.0.raw) });
        Capability::own(on, name, raw)
    }

    /// The same where there may be no connection any more.
    ///
    /// # Errors
    /// What it throws.
    pub fn try_bootstrap(&self, name: Name) -> Result<Capability, Thrown> {
        let on = &self.0.on;
        // SAFETY: it lives as long as this.
        let raw = on.0.call(|| unsafe { ffi::dk_vat_bootstrap(self.0.raw) })?;
        Ok(Capability::own(on, name, raw))
    }

    /// Waits for `onDisconnect`.
    pub fn disconnected(&self, name: Name) -> Waiting {
        Waiting::on(&self.0.on, name, |waiter| {
            // SAFETY: it lives as long as this.
            unsafe { ffi::dk_vat_disconnected(self.0.raw, waiter) }
        })
    }

    /// `shutdownWrite` of its stream.
    ///
    /// # Errors
    /// What it throws.
    pub fn shut_write(&self) -> Result<(), Thrown> {
        // SAFETY: it lives as long as this.
        self.0
            .on
            .0
            .call(|| unsafe { ffi::dk_vat_shut_write(self.0.raw) })
    }

    /// `abortRead` of its stream.
    ///
    /// # Errors
    /// What it throws.
    pub fn abort_read(&self) -> Result<(), Thrown> {
        // SAFETY: it lives as long as this.
        self.0
            .on
            .0
            .call(|| unsafe { ffi::dk_vat_abort_read(self.0.raw) })
    }
}

/// A `TwoPartyServer`, destroyed with all its connections when it is dropped.
pub struct Server(Tracked<RawServer>);

struct RawServer {
    raw: *mut ffi::Server,
    on: EventLoop,
}

impl Drop for RawServer {
    fn drop(&mut self) {
        // SAFETY: it is the only owner.
        self.on.0.run(|| unsafe { ffi::dk_server_delete(self.raw) });
    }
}

impl Server {
    /// Serves `bootstrap` to whoever connects.
    pub fn new(name: Name, bootstrap: &Capability) -> Self {
        let on = bootstrap.on();
        // SAFETY: the shim takes a reference to the capability.
        let raw = on.0.make(|| unsafe { ffi::dk_server_new(bootstrap.raw()) });
        let raw = RawServer {
            raw,
            on: on.clone(),
        };
        Self(on.sim().track(name, raw))
    }

    /// Accepts a connection.
    ///
    /// # Panics
    /// If it is on another loop.
    pub fn accept(&self, stream: Stream) {
        stream.must_be_on(&self.0.on);
        let stream = stream.into_raw();
        // SAFETY: the shim takes the stream.
        self.0
            .on
            .0
            .run(|| unsafe { ffi::dk_server_accept(self.0.raw, stream) });
    }

    /// Waits until no connection is left.
    pub fn drained(&self, name: Name) -> Waiting {
        Waiting::on(&self.0.on, name, |waiter| {
            // SAFETY: it lives as long as this.
            unsafe { ffi::dk_server_drained(self.0.raw, waiter) }
        })
    }
}
