//! A real Unix socketpair in the place of both pipes: bytes, ends and errors are the kernel's.
//!
//! A [`Wire`] is one direction of it, between two [`Plug`]s. Nothing here waits: `poll(2)` is
//! asked without a timeout, because what one end of a pair writes or shuts is seen at the other
//! when the call returns.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionread, retry_on_intr};
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, recv, send, shutdown,
    socketpair,
};

/// One end's socket, which its reader and its writer share, as after tokio's `into_split`.
struct Plug {
    socket: RefCell<Socket>,
    /// Readers and writers that are left.
    halves: Cell<u8>,
    /// It stays open when both are gone, as if a child process had inherited it.
    kept: Cell<bool>,
}

enum Socket {
    Open(OwnedFd),
    /// With so many bytes unread.
    Closed(u64),
}

/// One direction of a socketpair.
pub(super) struct Wire {
    from: Rc<Plug>,
    to: Rc<Plug>,
    /// Bytes of ours in the kernel's buffer that nobody shall ever read; see [`Wire::clog`].
    filler: u64,
}

/// Two fresh sockets, connected.
fn pair() -> [OwnedFd; 2] {
    let made = socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    );
    let (one, other) = made.expect("a process may open two more sockets");
    [one, other]
}

/// A socket whose peer was closed with bytes unread: that is how the kernel makes a reset.
fn dead() -> OwnedFd {
    let [left, closed] = pair();
    send(&left, &[0], SendFlags::NOSIGNAL).expect("a fresh socket has room for a byte");
    drop(closed);
    left
}

impl Plug {
    fn new(socket: OwnedFd) -> Rc<Self> {
        Rc::new(Self {
            socket: RefCell::new(Socket::Open(socket)),
            halves: Cell::new(2),
            kept: Cell::new(false),
        })
    }

    /// Calls into the kernel; a closed socket is a broken pipe.
    fn with<T>(&self, call: impl Fn(&OwnedFd) -> rustix::io::Result<T>) -> io::Result<T> {
        match &*self.socket.borrow() {
            Socket::Open(socket) => Ok(retry_on_intr(|| call(socket))?),
            Socket::Closed(_) => Err(Errno::PIPE.into()),
        }
    }

    /// Bytes that the kernel holds for this end.
    fn unread(&self) -> u64 {
        match &*self.socket.borrow() {
            Socket::Open(socket) => ioctl_fionread(socket).unwrap_or(0),
            Socket::Closed(unread) => *unread,
        }
    }

    /// A half is gone; the last one closes the socket.
    fn leave(&self) {
        self.halves.set(self.halves.get() - 1);
        if self.halves.get() == 0 && !self.kept.get() {
            let unread = self.unread();
            self.socket.replace(Socket::Closed(unread));
        }
    }
}

impl Wire {
    /// Both directions of a fresh socketpair.
    pub(super) fn pair() -> [Self; 2] {
        let [one, other] = pair().map(Plug::new);
        let wire = |from: &Rc<Plug>, to: &Rc<Plug>| Self {
            from: from.clone(),
            to: to.clone(),
            filler: 0,
        };
        [wire(&one, &other), wire(&other, &one)]
    }

    /// Asks for a buffer of so many bytes. The kernel has its own idea of how many those are.
    pub(super) fn set_capacity(&self, bytes: usize) {
        // A hint: refused or rounded, the run goes on.
        drop(
            self.from
                .with(|socket| set_socket_send_buffer_size(socket, bytes)),
        );
    }

    /// Keeps the writer's end open when both of its halves are gone.
    pub(super) fn keep_open(&self) {
        self.from.kept.set(true);
    }

    /// Bytes written and not yet read.
    pub(super) fn backlog(&self) -> u64 {
        self.to.unread() - self.filler
    }

    /// What `read(2)` says.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match &*self.to.socket.borrow() {
            Socket::Open(socket) => {
                let (count, _) = retry_on_intr(|| recv(socket, &mut *buffer, RecvFlags::empty()))?;
                Ok(count)
            }
            Socket::Closed(_) => Ok(0),
        }
    }

    /// What `write(2)` says.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.from
            .with(|socket| send(socket, bytes, SendFlags::NOSIGNAL))
    }

    /// `shutdown(2)` of the writing side: end of file behind the backlog.
    pub(super) fn shut(&self) {
        // Done already, or the peer is gone: either way it is shut.
        drop(self.from.with(|socket| shutdown(socket, Shutdown::Write)));
    }

    /// Reads the backlog and throws it away.
    pub(super) fn discard(&mut self) {
        let mut nowhere = [0; 4096];
        while matches!(self.read(&mut nowhere), Ok(1..)) {}
        self.filler = 0;
    }

    /// Gives the reading end a socket whose peer is gone, backlog and all.
    pub(super) fn reset(&mut self) {
        if let socket @ Socket::Open(_) = &mut *self.to.socket.borrow_mut() {
            *socket = Socket::Open(dead());
        }
        self.filler = 0;
    }

    /// Fills the kernel's buffer, so that whatever is written waits at the sender. For a reader
    /// that never reads again.
    pub(super) fn clog(&mut self) {
        while let Ok(count) = self.write(&[0; 4096]) {
            self.filler += count as u64;
        }
    }

    pub(super) fn reader_gone(&self) {
        self.to.leave();
    }

    pub(super) fn writer_gone(&self) {
        self.from.leave();
    }

    /// Of the waits for bytes and for room, which does `poll(2)` say are over?
    pub(super) fn over(&self, for_bytes: bool, for_room: bool) -> (bool, bool) {
        let ready = |plug: &Plug, flag: PollFlags| {
            let now = Timespec::default();
            let polled = plug.with(|socket| {
                let mut sockets = [PollFd::new(socket, flag)];
                poll(&mut sockets, Some(&now))
            });
            // An error is for the task to see, at its next call.
            polled.map_or(true, |count| count > 0)
        };
        (
            for_bytes && ready(&self.to, PollFlags::IN),
            for_room && ready(&self.from, PollFlags::OUT),
        )
    }
}
