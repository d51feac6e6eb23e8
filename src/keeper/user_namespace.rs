//! The keeper that is in a user namespace of its own, where a program without privileges may create the
//! other namespaces.
//!
//! Every id means the same as outside, so files, signals and credentials are what they are for any keeper.
//! A program that may give its children users of their own has all its ids mapped, by a helper that
//! stays outside; another one maps its own id, for which nobody needs a privilege.

use std::io::{self, Read, Write};

use super::identity::Credentials;
use crate::sys::fork;
use crate::sys::namespaces::{self, Range};
use crate::sys::process::{self, Ended};
use crate::sys::system_files;

/// Enters a new user namespace.
///
/// The process must be dumpable: otherwise, the files by which ids are mapped belong to root.
pub(super) fn enter(credentials: &Credentials) -> io::Result<()> {
    match credentials.may_change_users() {
        true => enter_with_all_ids(),
        false => {
            let own = |id: u32| [(id, 1)];
            let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
            namespaces::begin_user()?;
            namespaces::map_ids("self", &own(user.as_raw()), &own(group.as_raw()), true)
        }
    }
}

fn enter_with_all_ids() -> io::Result<()> {
    let (users, groups) = (mapped("uid_map")?, mapped("gid_map")?);
    // The helper's parent by the number that `/proc` knows it by.
    let keeper = system_files::read_link("self")?;
    let keeper = keeper
        .into_string()
        .map_err(|_| io::ErrorKind::InvalidData)?;
    let (mut reading, mut writing) = io::pipe()?;
    let forked = fork::fork();
    match forked.map_err(|error| io::Error::other(error.to_string()))? {
        None => {
            drop(writing);
            // Without a word the keeper has failed, or ended.
            let mapped = reading
                .read_exact(&mut [0])
                .and_then(|()| namespaces::map_ids(&keeper, &users, &groups, false));
            process::leave(match mapped {
                Ok(()) => 0,
                Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
            })
        }
        Some(helper) => {
            drop(reading);
            let begun = namespaces::begin_user();
            let told = begun.and_then(|()| writing.write_all(&[0]));
            drop(writing);
            let ended = helper.wait()?;
            told?;
            match ended {
                Ended::Exited(0) => Ok(()),
                Ended::Exited(errno) => Err(io::Error::from_raw_os_error(errno)),
                _ => Err(io::Error::other("the helper that maps its ids was killed")),
            }
        }
    }
}

/// The ids that this process's user namespace has.
fn mapped(file: &str) -> io::Result<Vec<Range>> {
    let map = system_files::read(&format!("self/{file}"))?;
    let range = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        Some((numbers.next()?.ok()?, numbers.nth(1)?.ok()?))
    };
    Ok(map.lines().filter_map(range).collect())
}
