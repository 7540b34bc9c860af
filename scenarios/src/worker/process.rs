//! One worker process as its supervisor sees it: jobs in, replies out, a watchdog, its remains.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a supervisor watches the clock for polls that never return, and reads on threads"
)]

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dismantle_sim::Fault;
use rustix::process::{Pid, Signal, kill_process};

use super::log::Read as Log;
use super::progress::Doing;
use super::remains::Remains;
use super::{Allowance, Job, Papers, Reply, WORKER_ARGUMENT};
use crate::harness::Notes;

/// A worker that waits and uses no processor time for so long is blocked, on a lock say.
const BLOCKED: Duration = Duration::from_secs(120);

/// How often a worker that is silent is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// A worker with less takes no machine's memory: ten times what one has between two runs.
const LARGE_BYTES: u64 = 64 << 20;

/// Of what a worker prints on standard error so many bytes are kept, the last ones.
const ERRORS_BYTES_MAX: usize = 4 << 10;

/// A poll that never returns is asked so often where it is.
const SAMPLES: usize = 64;

/// The time between two of these questions. It is not a divisor of anything that a loop may do.
const BETWEEN_SAMPLES: Duration = Duration::from_micros(7_300);

/// A worker process, waiting for a job or at one.
pub(super) struct Process {
    child: Child,
    stdin: ChildStdin,
    replies: Receiver<io::Result<String>>,
    errors: JoinHandle<Vec<u8>>,
    papers: Papers,
    /// The worker's `/proc/self/maps`, once it is ready.
    maps: Option<String>,
    /// The most that was seen resident of it at this job.
    resident_bytes: u64,
    allowance: Allowance,
}

/// How waiting for a reply ended.
pub(super) enum Heard {
    Reply(Reply),
    Died(ExitStatus),
    Spun,
    Interrupted,
}

impl Process {
    pub(super) fn start(allowance: Allowance) -> io::Result<Self> {
        let papers = Papers::create()?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg(WORKER_ARGUMENT)
            .arg(allowance.memory_bytes.to_string())
            .args(papers.paths())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Out of the terminal's foreground group: Ctrl-C is the supervisor's.
            .process_group(0)
            .spawn()?;
        Ok(Self {
            stdin: child.stdin.take().expect("piped"),
            replies: lines(child.stdout.take().expect("piped")),
            errors: tail(child.stderr.take().expect("piped")),
            child,
            papers,
            maps: None,
            resident_bytes: 0,
            allowance,
        })
    }

    /// Gives it a job; an error says that it is gone.
    pub(super) fn send(&mut self, job: &Job) -> io::Result<()> {
        let mut line = serde_json::to_vec(job)?;
        line.push(b'\n');
        self.resident_bytes = 0;
        // Not cut short: the worker has it mapped.
        Doing::clear(&self.papers.progress)?;
        for paper in self.papers.emptied() {
            paper.set_len(0)?;
        }
        self.stdin.write_all(&line)
    }

    /// Waits for a reply to the job, or for an end without one.
    pub(super) fn hear(&mut self, interrupted: &AtomicBool) -> io::Result<Heard> {
        // Looked at only when it is silent: most replies come sooner.
        let mut seen = None;
        loop {
            match self.replies.recv_timeout(LOOK) {
                Ok(line) => match serde_json::from_str(&line?)? {
                    Reply::Ready { maps } => self.maps = Some(maps),
                    reply => return Ok(Heard::Reply(reply)),
                },
                Err(RecvTimeoutError::Disconnected) => return Ok(Heard::Died(self.child.wait()?)),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if interrupted.load(Ordering::Relaxed) {
                return Ok(Heard::Interrupted);
            }
            let now = self.doing();
            let used = self.processor_time();
            // A process that is about to be gone has no memory any more.
            self.resident_bytes = self.resident_bytes.max(self.resident());
            match &seen {
                Some((before, since, used_then)) if *before == now => {
                    let used: Duration = used.saturating_sub(*used_then);
                    if used > self.allowance.spin || Instant::elapsed(since) > BLOCKED {
                        return Ok(Heard::Spun);
                    }
                }
                _ => seen = Some((now, Instant::now(), used)),
            }
        }
    }

    /// Whether it ever took a job.
    pub(super) fn was_ready(&self) -> bool {
        self.maps.is_some()
    }

    /// Whether it was seen with so much memory that the kernel may have ended it for that.
    pub(super) fn is_large(&self) -> bool {
        self.resident_bytes >= LARGE_BYTES
    }

    /// What is resident of it now, in bytes; 0 where `/proc` does not tell.
    fn resident(&self) -> u64 {
        let path = format!("/proc/{}/statm", self.child.id());
        let statm = std::fs::read_to_string(path).unwrap_or_default();
        let pages = statm.split(' ').nth(1).and_then(|n| n.parse().ok());
        pages.unwrap_or(0) * rustix::param::page_size() as u64
    }

    /// What the worker said last that it does; `None` if it has not begun with its job.
    pub(super) fn doing(&self) -> Option<Doing> {
        Doing::read(&self.papers.progress)
    }

    /// Processor time that the worker has used; none where `/proc` does not tell.
    fn processor_time(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = std::fs::read_to_string(path).unwrap_or_default();
        // Behind the name, which may hold anything but is in parentheses: fields 14 and 15 of
        // proc(5), user and system time in clock ticks.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks = fields.split(' ').skip(12).take(2);
        let ticks: u64 = ticks.filter_map(|n| n.parse::<u64>().ok()).sum();
        Duration::from_millis(1000 * ticks / rustix::param::clock_ticks_per_second())
    }

    /// Has the worker write down where it is, a few times.
    pub(super) fn sample(&self) {
        let pid = Pid::from_child(&self.child);
        for _ in 0..SAMPLES {
            if kill_process(pid, Signal::PROF).is_err() {
                return;
            }
            std::thread::sleep(BETWEEN_SAMPLES);
        }
    }

    /// What the log of a run that has come to its end says.
    pub(super) fn log(&self) -> Log {
        Log::of(
            &all_of(&self.papers.log),
            &all_of(&self.papers.prints),
            None,
        )
    }

    /// What the run of the last job has left for its explanation.
    pub(super) fn notes(&self) -> Notes {
        Notes {
            faults: Fault::read_all(&all_of(&self.papers.faults)),
            maps: self.maps.clone().unwrap_or_default(),
        }
    }

    /// Ends the worker, if it has not ended; what is left of it.
    pub(super) fn end(mut self) -> Remains {
        // It may have died already; either way it is gone then.
        drop(self.child.kill());
        drop(self.child.wait());
        let doing = self.doing();
        let errors = self.errors.join().unwrap_or_default();
        let prints = all_of(&self.papers.prints);
        // In a run whose prints are wanted, standard error goes there.
        let errors = [&errors[..], b"\n", &prints].concat();
        Remains {
            log: Log::of(&all_of(&self.papers.log), &prints, doing.as_ref()),
            doing,
            errors: String::from_utf8_lossy(&errors).into_owned(),
            faults: Fault::read_all(&all_of(&self.papers.faults)),
            maps: self.maps.unwrap_or_default(),
        }
    }
}

/// What is in a file; what cannot be read explains nothing.
fn all_of(mut file: &File) -> Vec<u8> {
    let mut bytes = Vec::new();
    if io::Seek::rewind(&mut file).is_ok() {
        drop(file.read_to_end(&mut bytes));
    }
    bytes
}

/// The whole lines of a stream: what a process was killed over is none.
fn lines(stream: ChildStdout) -> Receiver<io::Result<String>> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        loop {
            let mut line = String::new();
            let read = match stream.read_line(&mut line) {
                Ok(_) if line.ends_with('\n') => sender.send(Ok(line)),
                Ok(_) => return,
                Err(error) => sender.send(Err(error)),
            };
            if read.is_err() {
                return;
            }
        }
    });
    lines
}

/// The end of a stream, once it has ended.
fn tail(mut stream: ChildStderr) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut tail = Vec::new();
        let mut bytes = [0; ERRORS_BYTES_MAX];
        while let Ok(length @ 1..) = stream.read(&mut bytes) {
            tail.extend_from_slice(&bytes[..length]);
            let surplus = tail.len().saturating_sub(ERRORS_BYTES_MAX);
            tail.drain(..surplus);
        }
        tail
    })
}
