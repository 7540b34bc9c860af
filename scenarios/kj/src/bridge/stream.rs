//! One end of a simulated connection as a stream of the library's.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use dismantle_sim::Name;
use dismantle_transport::{End, Reader, Writer};
use futures::io::{AsyncRead, AsyncWrite};

use super::event_loop::EventLoop;
use super::ffi;

/// What `shutdownWrite` does while a write is under way: what carries the bytes decides. Seen with
/// the library's own streams, 0.9.2 and 1.3.0, over loopback, a socketpair and `newTwoWayPipe`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shutdown {
    /// The write fails at once, as on TCP. If the connection is lost or has ended, noticed or not,
    /// it throws.
    Fails,
    /// The write waits until the peer has read something, has ended its own direction or is gone,
    /// as on a Unix socketpair: only then the kernel says that the socket can be written, and
    /// that it was shut down.
    Waits,
    /// It throws, unless the peer is gone, as that of kj's own in-memory pipe does.
    Throws,
}

/// A stream that no vat has yet.
pub struct Stream {
    raw: *mut ffi::Stream,
    on: EventLoop,
}

/// What the shim's stream calls.
pub(super) struct Host {
    io: Rc<Io>,
    shutdown: Shutdown,
    reader: RefCell<Option<Reader>>,
    writer: RefCell<Option<Writer>>,
    /// The stream was shut down.
    shut: Cell<bool>,
    /// What was on its way then, if a write was under way that waits.
    shut_at: Cell<Option<u64>>,
    /// A read has come to the end of the file.
    ended: Cell<bool>,
    /// An operation has failed because the connection is lost.
    failed: Cell<bool>,
}

/// The task that polls the stream.
struct Io {
    raw: Cell<*mut ffi::Stream>,
    waker: RefCell<Option<Waker>>,
}

impl Stream {
    /// `end` as a stream on this loop, with a task that polls it: `owner/io`.
    pub fn new(on: &EventLoop, end: End, shutdown: Shutdown) -> Self {
        let io = Rc::new(Io {
            raw: Cell::new(std::ptr::null_mut()),
            waker: RefCell::new(None),
        });
        let host = Box::new(Host {
            io: io.clone(),
            shutdown,
            reader: RefCell::new(Some(end.reader)),
            writer: RefCell::new(Some(end.writer)),
            shut: Cell::new(false),
            shut_at: Cell::new(None),
            ended: Cell::new(false),
            failed: Cell::new(false),
        });
        let host = Box::into_raw(host).cast();
        // SAFETY: the shim drops the host with the stream.
        let raw =
            on.0.make(|| unsafe { ffi::dk_stream_new(on.0.raw.get(), host) });
        io.raw.set(raw);
        let state = Rc::downgrade(&on.0);
        let task = poll_fn(move |context| {
            let raw = io.raw.get();
            let Some(state) = state.upgrade().filter(|_| !raw.is_null()) else {
                return Poll::Ready(());
            };
            io.waker.replace(Some(context.waker().clone()));
            // SAFETY: the host forgets it when it is dropped with the stream.
            state.run(|| unsafe { ffi::dk_stream_poll(raw) });
            Poll::Pending
        });
        on.sim().spawn(Name::new(on.owner(), "io"), task);
        Self {
            raw,
            on: on.clone(),
        }
    }

    pub(super) fn must_be_on(&self, on: &EventLoop) {
        self.on.must_be(on);
    }

    /// Gives it to a part of the shim that takes it.
    pub(super) fn into_raw(mut self) -> *mut ffi::Stream {
        std::mem::replace(&mut self.raw, std::ptr::null_mut())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.raw.is_null() {
            // SAFETY: it is the only owner, as nobody took it.
            self.on.0.run(|| unsafe { ffi::dk_stream_delete(self.raw) });
        }
    }
}

impl Host {
    /// Calls `poll` on behalf of the task, which is woken when it is worth another call.
    fn poll(
        &self,
        poll: impl FnOnce(&mut Context<'_>) -> Option<Poll<io::Result<usize>>>,
    ) -> isize {
        let waker = self.io.waker.borrow().clone();
        let Some(waker) = waker else {
            // The task's first poll is to come.
            return ffi::PENDING;
        };
        match poll(&mut Context::from_waker(&waker)) {
            None => ffi::LOST,
            Some(Poll::Pending) => ffi::PENDING,
            Some(Poll::Ready(Ok(count))) => count as isize,
            Some(Poll::Ready(Err(error))) => match error.kind() {
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => ffi::LOST,
                _ => ffi::BROKEN,
            },
        }
    }

    pub(super) fn read(&self, buffer: &mut [u8]) -> isize {
        let mut reader = self.reader.borrow_mut();
        let given =
            self.poll(|context| Some(Pin::new(reader.as_mut()?).poll_read(context, buffer)));
        self.failed.set(self.failed.get() || given == ffi::LOST);
        if given == 0 && !buffer.is_empty() && !self.ended.replace(true) {
            // A write may have waited for it.
            self.wake();
        }
        given
    }

    pub(super) fn write(&self, bytes: &[u8]) -> isize {
        let mut writer = self.writer.borrow_mut();
        if let (Some(at), Some(writer)) = (self.shut_at.get(), writer.as_ref())
            && (writer.backlog_bytes() < at || self.ended.get())
        {
            writer.shut();
        }
        if self.shutdown == Shutdown::Throws && self.shut.get() {
            return ffi::BROKEN;
        }
        let taken =
            self.poll(|context| Some(Pin::new(writer.as_mut()?).poll_write(context, bytes)));
        self.failed.set(self.failed.get() || taken == ffi::LOST);
        taken
    }

    pub(super) fn shut_write(&self, is_writing: bool) -> isize {
        let writer = self.writer.borrow();
        let Some(writer) = writer.as_ref() else {
            return 0;
        };
        match self.shutdown {
            // The peer's kernel has said that it is gone, or both sides have said that they end.
            Shutdown::Fails
                if writer.is_lost() && (is_writing || self.failed.get())
                    || self.shut.get() && self.ended.get() =>
            {
                return ffi::LOST;
            }
            Shutdown::Throws if is_writing && !writer.is_lost() => return ffi::BROKEN,
            Shutdown::Waits if is_writing && !self.ended.get() => {
                self.shut_at.set(Some(writer.backlog_bytes()))
            }
            _ => writer.shut(),
        }
        self.shut.set(true);
        0
    }

    /// Has the task poll the stream.
    fn wake(&self) {
        if let Some(waker) = &*self.io.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    pub(super) fn abort_read(&self) {
        drop(self.reader.take());
    }

    pub(super) fn write_is_dead(&self) -> bool {
        let mut writer = self.writer.borrow_mut();
        let dead = self.poll(|context| {
            let dead = writer.as_mut()?.poll_dead(context);
            Some(dead.map(|()| Ok(0)))
        });
        dead != ffi::PENDING
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.io.raw.set(std::ptr::null_mut());
        // Its task has nothing to poll any more, and ends.
        self.wake();
    }
}
