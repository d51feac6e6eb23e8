//! The program's side: asks the keeper for children, and starts it if there is none.

mod keepers;
mod packets;
mod start;
mod supervised;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock};

pub use self::keepers::{end, reload};
pub(crate) use self::keepers::{generation, prepare, shared_record};
use self::start::Keeper;
use self::supervised::{ASK, Pace, START_TIMEOUT};
pub(crate) use self::supervised::{Outcome, Supervised};
use super::protocol::Request;
use crate::confine::NewGroup;
use crate::error::Error;
use crate::executable::Program;
use crate::sys::poll::Deadline;
use crate::sys::socket;

/// How often a request is made again, of another keeper.
const MOST_REPLACED: u32 = 8;

/// Asks the keeper for a child that finds its launch message in `socket`. A later report says
/// whether it was started.
pub(crate) fn launch(
    executable: &Program,
    preload: Option<u64>,
    request: Request,
    socket: OwnedFd,
    timer: Option<BorrowedFd<'_>>,
    group: Option<NewGroup>,
    deadline: Deadline,
) -> Result<Supervised, Error> {
    let failed = |step| move |source| Error::Launch { step, source };
    let (reports, theirs) = socket::pair().map_err(failed("make a pair of sockets"))?;
    let mut descriptors = vec![socket.as_fd(), theirs.as_fd()];
    descriptors.extend(timer);
    descriptors.extend(group.as_ref().and_then(NewGroup::directory));
    let start_by = deadline.min(Deadline::after(START_TIMEOUT));
    let (wanted, request) = (request.namespaces, request.to_bytes());

    let mut replaced = 0;
    let keeper = loop {
        let keeper = Keeper::suited(executable, preload, wanted, reports.as_fd(), start_by)?;
        match keeper.ask(&request, &descriptors, start_by) {
            Ok(()) => break keeper,
            // It was killed, and calls in progress learn of it through their own sockets; or it takes no more
            // requests.
            Err(error)
                if replaced < MOST_REPLACED
                    && matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)) =>
            {
                keeper.forget();
                replaced += 1;
            }
            Err(error) => return Err(failed(ASK)(error)),
        }
    };
    drop(descriptors);
    if let Some(group) = group {
        group.hand_over();
    }
    // From here on, only the keeper and the child hold them.
    let pace = Pace {
        requests: keeper.unreceived(),
        start_by,
    };
    Ok(Supervised {
        reports: Arc::new(reports),
        keeper: Arc::downgrade(&keeper),
        mapped: Arc::clone(&keeper.mapped),
        deadline,
        pace: Mutex::new(pace),
        id: OnceLock::new(),
        parting: Mutex::new(None),
    })
}
