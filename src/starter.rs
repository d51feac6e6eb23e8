//! The thread that starts children which are to die with the program.
//!
//! The kernel can kill a child when its parent ends (PR_SET_PDEATHSIG), but means the thread that
//! made it. This one ends with the program only. It is started when the first such child is.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::{io, thread};

use crate::sys::process::{Process, StartError};
use crate::sys::signals::Blocked;

type Job = Box<dyn FnOnce() + Send>;

struct Starter {
    /// The process that it belongs to: a copy made by `fork` has the memory, but no thread.
    process: u32,
    jobs: Sender<Job>,
}

static STARTER: Mutex<Option<Starter>> = Mutex::new(None);

/// Starts a child on a thread that ends with the program only.
pub(crate) fn start(
    start: impl FnOnce() -> Result<Process, StartError> + Send + 'static,
) -> Result<Process, StartError> {
    let (tell, told) = channel();
    let job = Box::new(move || {
        // Whoever asked waits for it.
        let _ = tell.send(start());
    });
    submit(job).map_err(failed)?;
    told.recv()
        .unwrap_or_else(|error| Err(failed(io::Error::other(error))))
}

fn failed(source: io::Error) -> StartError {
    StartError {
        step: "start a thread that the child dies with",
        source,
    }
}

fn submit(job: Job) -> io::Result<()> {
    let mut current = STARTER.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    let starter = match current.take_if(|starter| starter.process == process) {
        Some(starter) => starter,
        None => Starter::new(process)?,
    };
    let sent = starter.jobs.send(job);
    *current = Some(starter);
    sent.map_err(|_| io::Error::other("it has ended"))
}

impl Starter {
    fn new(process: u32) -> io::Result<Self> {
        let (jobs, coming) = channel::<Job>();
        // The program's signals are for its own threads.
        let blocked = Blocked::all();
        let thread = thread::Builder::new().name("crossmist-starter".to_owned());
        let result = thread.spawn(move || {
            for job in coming {
                job();
            }
        });
        drop(blocked);
        result.map(|_| Self { process, jobs })
    }
}
