//! Do the bytes of a run with real input and output go through the kernel, and does the kernel
//! make the ends and the errors?

use std::io;

use dismantle_sim::{
    Limits, Name, Options, Phase, Plan, Report, Runner, Sim, Stopped, Value, Vocabulary,
};
use dismantle_transport::{End, Link};
use futures::{AsyncReadExt, AsyncWriteExt};

fn plan(answers: &[(&str, Value)]) -> Plan {
    let mut plan = Plan::new(Vocabulary {
        scenario: "socket",
        limits: Limits::default(),
        parameters: &[],
        questions: dismantle_transport::questions()
            .into_iter()
            .chain(dismantle_sim::questions())
            .collect(),
    });
    for (name, value) in answers {
        plan.set(name, value).expect(name);
    }
    plan
}

fn word(word: &str) -> Value {
    Value::Word(word.to_owned())
}

/// Runs `body` with both ends of a link over a socketpair.
fn on_sockets(
    answers: &[(&str, Value)],
    body: impl Fn(&Sim, Link, End, End) -> Result<(), Stopped> + Send + Sync,
) -> Report {
    let options = Options {
        real_io: true,
        ..Options::default()
    };
    let report = Runner::new().run(&plan(answers), &options, |sim| {
        sim.enter(Phase::Drive, || {
            let (link, client, server) = Link::new(sim);
            body(sim, link, client, server)
        })
    });
    assert_eq!(report.panics, []);
    report
}

/// Spawns `future` and gives what it came to; it has to come to something.
fn now<T: 'static>(sim: &Sim, future: impl Future<Output = T> + 'static) -> Result<T, Stopped> {
    let handle = sim.spawn(Name::new("client", "work"), future);
    Ok(sim.run_until(&handle)?.expect("nothing waits for ever"))
}

#[test]
fn bytes_wait_in_the_kernel_and_nowhere_else() {
    on_sockets(&[], |sim, link, client, mut server| {
        let mut writer = client.writer;
        now(sim, async move {
            writer.write_all(&[7; 5000]).await.expect("room");
            // Its drop would be the end of file.
            std::mem::forget(writer);
        })?;
        // Counted by the kernel (FIONREAD), and asserted at every operation to be what was
        // written and not read.
        assert_eq!(link.to_server().backlog_bytes(), 5000);
        let read = now(sim, async move {
            let mut bytes = [0; 3000];
            server.reader.read_exact(&mut bytes).await.expect("there");
            std::mem::forget(server);
            bytes
        })?;
        assert_eq!(read, [7; 3000]);
        assert_eq!(link.to_server().backlog_bytes(), 2000);
        Ok(())
    });
}

#[test]
fn a_reader_waits_until_the_kernel_has_bytes() {
    on_sockets(&[], |sim, _link, client, mut server| {
        let reading = sim.spawn(Name::new("server", "work"), async move {
            let mut bytes = [0; 5];
            server.reader.read_exact(&mut bytes).await.map(|()| bytes)
        });
        sim.settle()?;
        assert!(!reading.is_finished());
        let mut writer = client.writer;
        now(sim, async move { writer.write_all(b"hello").await })?.expect("room");
        let read = sim.run_until(&reading)?.expect("the kernel woke it");
        assert_eq!(&read.expect("no error"), b"hello");
        Ok(())
    });
}

/// Far more than the kernel's buffer: the writer has to wait and to be woken.
#[test]
fn a_full_buffer_pushes_back() {
    const BYTES: usize = 3 << 20;
    on_sockets(&[], |sim, link, client, mut server| {
        let mut writer = client.writer;
        let writing = sim.spawn(Name::new("client", "work"), async move {
            writer.write_all(&vec![1; BYTES]).await
        });
        sim.settle()?;
        assert!(!writing.is_finished());
        assert!(link.to_server().backlog_bytes() > 0);
        let read = now(sim, async move {
            let mut bytes = Vec::new();
            server.reader.read_to_end(&mut bytes).await.map(|_| bytes)
        })?;
        assert_eq!(read.expect("end of file").len(), BYTES);
        assert!(writing.is_finished());
        Ok(())
    });
}

#[test]
fn a_clogged_pipe_takes_no_byte() {
    on_sockets(&[], |sim, link, client, _server| {
        link.to_server().clog();
        let mut writer = client.writer;
        let writing = sim.spawn(Name::new("client", "work"), async move {
            writer.write(b"hello").await
        });
        sim.settle()?;
        assert!(!writing.is_finished());
        assert_eq!(
            link.to_server().backlog_bytes(),
            0,
            "the filler is not ours"
        );
        Ok(())
    });
}

#[test]
fn a_half_close_is_the_end_of_file_behind_the_backlog() {
    on_sockets(&[], |sim, link, client, mut server| {
        let mut writer = client.writer;
        let mut writer = now(sim, async move {
            writer.write_all(b"hello").await.expect("room");
            writer
        })?;
        link.to_server().shut();
        let read = now(sim, async move {
            let mut bytes = Vec::new();
            server.reader.read_to_end(&mut bytes).await.map(|_| bytes)
        })?;
        assert_eq!(read.expect("end of file"), b"hello");
        let error = now(sim, async move { writer.write(b"more").await })?;
        assert_eq!(kind(error), io::ErrorKind::BrokenPipe);
        Ok(())
    });
}

#[test]
fn a_reset_loses_the_backlog_and_is_said_once_by_the_kernel() {
    on_sockets(&[], |sim, link, client, mut server| {
        let mut writer = client.writer;
        let mut writer = now(sim, async move {
            writer.write_all(b"hello").await.expect("room");
            writer
        })?;
        link.to_client().reset();
        let mut reads = now(sim, async move {
            let mut bytes = [0; 8];
            let first = server.reader.read(&mut bytes).await;
            [first, server.reader.read(&mut bytes).await]
        })?;
        let [first, second] = &mut reads;
        let reset = first.as_ref().expect_err("no byte of the backlog").kind();
        assert_eq!(reset, io::ErrorKind::ConnectionReset);
        assert_eq!(*second.as_ref().expect("the end"), 0);
        let error = now(sim, async move { writer.write(b"more").await })?;
        assert_eq!(kind(error), io::ErrorKind::BrokenPipe);
        Ok(())
    });
}

/// The reader gets this much and then the end: the fault cuts at a byte of a message.
#[test]
fn a_message_is_cut_at_a_byte() {
    // One segment of two words.
    let mut frame = [0; 24];
    frame[4] = 2;
    let fault = [
        ("pipe.c2s.fault.0.what", word("half-close")),
        ("pipe.c2s.fault.0.when", word("message")),
        ("pipe.c2s.fault.0.byte", Value::Count(11)),
    ];
    let report = on_sockets(&fault, move |sim, _link, client, mut server| {
        let mut writer = client.writer;
        now(sim, async move {
            writer.write_all(&frame).await.expect("room");
            std::mem::forget(writer);
        })?;
        let read = now(sim, async move {
            let mut bytes = Vec::new();
            server.reader.read_to_end(&mut bytes).await.map(|_| bytes)
        })?;
        assert_eq!(read.expect("end of file"), frame[..11]);
        Ok(())
    });
    assert_eq!(report.ignored, [""; 0]);
}

#[test]
fn a_stall_lasts_for_its_time() {
    let fault = [
        ("pipe.c2s.fault.0.what", word("stall")),
        ("pipe.c2s.fault.0.when", word("operation")),
        ("pipe.c2s.fault.0.stall_us", Value::Count(5000)),
    ];
    on_sockets(&fault, |sim, link, client, mut server| {
        link.operation(1);
        let mut writer = client.writer;
        now(sim, async move { writer.write_all(b"x").await })?.expect("room");
        now(sim, async move { server.reader.read(&mut [0]).await })?.expect("a byte");
        assert_eq!(sim.now_us(), 5000);
        Ok(())
    });
}

/// As after tokio's `into_split`: dropping the writer is the end of file, dropping both closes.
#[test]
fn an_end_is_closed_when_both_halves_are_gone() {
    on_sockets(&[], |sim, _link, client, server| {
        let (mut reader, mut writer) = (server.reader, server.writer);
        drop(client.writer);
        let read = now(sim, async move { reader.read(&mut [0]).await })?;
        assert_eq!(read.expect("end of file"), 0);
        let mut writer = now(sim, async move {
            writer.write_all(b"x").await.expect("the socket is open");
            writer
        })?;
        drop(client.reader);
        let error = now(sim, async move { writer.write(b"x").await })?;
        assert_eq!(kind(error), io::ErrorKind::BrokenPipe);
        Ok(())
    });
}

#[test]
fn an_end_that_stays_open_says_nothing() {
    let stays = [("pipe.c2s.on_drop", word("stays-open"))];
    on_sockets(&stays, |sim, _link, client, mut server| {
        drop(client);
        let mut writer = server.writer;
        now(sim, async move { writer.write_all(b"x").await })?.expect("the socket is open");
        let reading = sim.spawn(Name::new("server", "work"), async move {
            server.reader.read(&mut [0]).await
        });
        sim.settle()?;
        assert!(!reading.is_finished());
        Ok(())
    });
}

fn kind(result: io::Result<usize>) -> io::ErrorKind {
    result.expect_err("an error").kind()
}
